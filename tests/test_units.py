"""Numbers that are no pixels, of any number of channels, through every stage to a bundle whose runner is started."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch

from edgekd import Pipeline
from edgekd.bundle.check import predict, verify
from edgekd.config import validate
from edgekd.data import ValueRange, as_input, in_units
from edgekd.errors import BundleError, PruningError
from edgekd.ondevice.contents import read_manifest
from edgekd.ondevice.sessions import logits_of_pixels, open_session
from edgekd.onnx_export import export_onnx
from edgekd.quantization import float_graph
from edgekd.report.load import load_report
from edgekd.zoo import ModelSpec
from tests.tiny import SPEC, tiny_convnet
from tests.windows import AXES, RANGE, STEPS, window

RANGES = [ValueRange(*RANGE), ValueRange(0, 1), ValueRange(-80, 0), ValueRange(250, 350), ValueRange(-7, -2)]


def chain(*stages: dict[str, Any], model: str = "dense") -> Pipeline:
    data = {"name": "function", "function": "tests.windows:windows", "range": [*RANGE], "image_size": [1, STEPS]}
    teacher = {"stage": "teacher", "model": f"tests.windows:{model}", "epochs": 3}
    tree = {"name": "windows", "data": data, "target": {"isa": "x86-avx2"}, "stages": [teacher, *stages]}
    return validate(Pipeline, tree, "windows.yaml")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of a network without convolutions."""
    root = tmp_path_factory.mktemp("windows")
    prune, distill = {"stage": "prune", "pruning_ratio": 0.5}, {"stage": "distill", "epochs": 2}
    stages: list[dict[str, Any]] = [
        prune,
        distill,
        {"stage": "ptq"},
        {"stage": "qat", "source": "distill", "epochs": 2},
    ]
    chain(*stages, {"stage": "export"}).run(root / "models", root / "exports")
    return root / "exports" / "windows"


def started(folder: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "-I", folder / "edgekd_run.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.slow
def test_a_network_without_convolutions_goes_through_every_stage_and_becomes_wholly_integer(ran: Path) -> None:
    models = {model.id: model for model in load_report(ran / "report.json").models}

    assert [*models][:4] == ["teacher", "prune", "distill", "ptq"]
    assert all(model.accuracy > 0.9 and model.agreement > 0.95 for model in models.values())
    assert models["prune"].params < 0.6 * models["teacher"].params
    assert (models["ptq"].kernels.integer, models["ptq"].kernels.float) == (3, 0)


@pytest.mark.slow
def test_the_bundle_takes_the_numbers_as_they_are(ran: Path, tmp_path: Path) -> None:
    values, wanted = window(5, 1), read_manifest(ran)["input"]
    np.save(tmp_path / "new.npy", values.astype(np.float64))
    logits = logits_of_pixels(open_session(ran / "model.onnx"), values[None])[0]

    (found,) = (json.loads(line) for line in started(ran, tmp_path / "new.npy", "--json").splitlines())

    assert (wanted["dtype"], wanted["range"], wanted["channels"]) == ("float32", [*RANGE], AXES)
    assert found["classes"][0]["name"] == "xyz"[logits.argmax()] == "y"
    assert predict(ran, [tmp_path / "new.npy"])[0] == found
    assert json.loads(started(ran, "--selftest", "--json"))["ok"]
    assert verify(ran)["ok"]
    assert f"<dd>1x{STEPS}, {AXES} channels</dd>\n<dt>range</dt><dd>-3 to 9</dd>" in (ran / "report.html").read_text()
    assert f"arrays of 1 x {STEPS} x {AXES} numbers from -3 to 9" in (ran / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "told"),
    [
        (
            np.zeros((1, STEPS, 3)),
            r"holds float64 of shape \(1, 20, 3\), the model takes float32 of shape \(1, 20, 4",
        ),
        (np.zeros((STEPS, AXES)), r"holds float64 of shape \(20, 4\), the model takes float32"),
        (np.zeros((1, STEPS, AXES), np.complex64), r"cannot be read as an array: an array of complex64"),
        (np.full((1, STEPS, AXES), np.nan), "holds numbers that are infinite or none"),
    ],
)
def test_an_array_that_the_model_does_not_take_is_told_in_one_line(
    ran: Path, tmp_path: Path, array: Any, told: str
) -> None:
    np.save(tmp_path / "odd.npy", array)

    with pytest.raises(BundleError, match=rf"odd\.npy: {told}"):
        predict(ran, [tmp_path / "odd.npy"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "told"), [("a.npy", "cannot be read as an array"), ("a.png", "is no array, and the")])
def test_what_is_no_array_is_told_in_one_line(ran: Path, tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00\xff")

    with pytest.raises(BundleError, match=told):
        predict(ran, [tmp_path / name])


def test_a_network_of_one_layer_has_nothing_to_prune_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(PruningError, match=r"stages\[1\] \(prune\): .*"):
        chain({"stage": "prune", "pruning_ratio": 0.5}, model="one_layer").run(
            tmp_path / "models", tmp_path / "exports"
        )


@pytest.mark.parametrize("unit", RANGES)
def test_a_file_makes_the_levels_that_training_saw(unit: ValueRange, tmp_path: Path) -> None:
    spec, model = SPEC.model_copy(update={"in_channels": 1}), tiny_convnet()
    generator = np.random.default_rng(0)
    values = generator.uniform(unit.low - 1, unit.high + 1, (32, 8, 8, 1)).astype(np.float32)
    export_onnx(float_graph(model, spec), spec, tmp_path / "model.onnx", unit)

    found = logits_of_pixels(open_session(tmp_path / "model.onnx"), values)

    with torch.inference_mode():
        wanted = model(as_input(torch.from_numpy(unit.levels(values)))).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", RANGES)
def test_levels_come_back_from_the_numbers_they_stand_for_and_span_the_range(unit: ValueRange) -> None:
    levels = torch.arange(256, dtype=torch.uint8)

    numbers = in_units(levels, unit).numpy()

    assert unit.levels(numbers).tolist() == levels.tolist()
    assert np.abs([numbers[0] - unit.low, numbers[-1] - unit.high]).max() <= 0.51 * unit.scale
    assert not (unit.low <= 0 <= unit.high) or 0.0 in numbers


def test_the_range_is_the_file_s_own_first_node(tmp_path: Path) -> None:
    spec = ModelSpec(**{**SPEC.model_dump(), "in_channels": 1})
    export_onnx(float_graph(tiny_convnet(), spec), spec, tmp_path / "model.onnx", ValueRange(-80, 0))

    graph = onnx.load(tmp_path / "model.onnx").graph

    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    first = next(node for node in graph.node if "pixels" in node.input)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert first.op_type == "QuantizeLinear"
    assert [float(constants[name]) for name in first.input[1:]] == [pytest.approx(80 / 255), 255]
