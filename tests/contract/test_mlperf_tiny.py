"""MLPerf Tiny's four networks through the whole chain, on generated data of their shapes."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from edgekd import Pipeline
from edgekd.bundle.check import verify
from edgekd.config import validate
from edgekd.errors import ModelError
from edgekd.ondevice.sizes import Size
from edgekd.report.load import load_report
from edgekd.zoo import ModelSpec, build, count_macs, count_params, example_images


class Task(NamedTuple):
    """A network and its data.

    Args:
        macs: at the size and with the number of classes that the benchmark has.
    """

    model: str
    data: str
    size: Size
    channels: int
    classes: int
    macs: int
    width_mult: float = 1.0
    unit: tuple[float, float] | None = None


TASKS = [
    Task("ds_cnn", "keywords", (49, 10), 1, 12, 2_656_768, unit=(-40, 40)),
    Task("resnet8", "pictures", 32, 3, 10, 12_501_632),
    Task("mobilenet_v1", "persons", 96, 3, 2, 7_489_664, width_mult=0.25),
    Task("dense_encoder", "machines", (5, 128), 1, 2, 132_112, unit=(-80, 0)),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.model)
def test_a_network_has_the_work_that_the_benchmark_publishes(task: Task) -> None:
    spec = ModelSpec(
        name=task.model,
        num_classes=task.classes,
        in_channels=task.channels,
        image_size=task.size,
        width_mult=task.width_mult,
    )

    model = build(spec)

    assert count_macs(model, spec) == task.macs
    assert count_params(model) > 20_000
    with torch.inference_mode():
        assert model.eval()(example_images(spec, 2)).shape == (2, task.classes)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.model)
def test_a_network_goes_through_every_stage_to_a_bundle_that_passes(task: Task, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"epochs": 2, "batch_size": 16}
    stages = [
        {"stage": "teacher", "model": task.model, "width_mult": task.width_mult, **usual},
        {"stage": "prune", "pruning_ratio": 0.5},
        {"stage": "distill", **usual},
        {"stage": "qat", **usual},
        {"stage": "export"},
    ]
    size = [*task.size] if isinstance(task.size, tuple) else task.size
    data: dict[str, Any] = {"name": "function", "function": f"tests.mlperf_tiny:{task.data}", "image_size": size}
    if task.unit:
        data["range"] = [*task.unit]
    tree = {"name": "tiny", "data": {**data, "augment": "none"}, "target": {"isa": "x86-avx2"}, "stages": stages}

    validate(Pipeline, tree, "tiny.yaml").run(tmp_path / "models", tmp_path / "exports")

    bundle = tmp_path / "exports" / "tiny"
    models = {model.id: model for model in load_report(bundle / "report.json").models}
    integers = [model for model in models.values() if model.precision != "float32"]
    assert verify(bundle)["ok"]
    assert models["prune"].macs < 0.7 * models["teacher"].macs
    assert integers
    assert all(model.kernels.float == 0 for model in integers)
    assert all(model.agreement > 0.9 for model in models.values())


def test_a_narrow_image_is_refused_by_a_network_whose_stem_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ds_cnn does not take 8x1 images"):
        build(ModelSpec(name="ds_cnn", num_classes=2, in_channels=1, image_size=(8, 1)))
