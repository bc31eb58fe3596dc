"""Fresh weights in the widths that pruning left."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Digits, load_dataset
from edgekd.pipeline import Pipeline
from edgekd.pruning.criteria import L2
from edgekd.pruning.prune import prune
from edgekd.stages import Context, Distill
from edgekd.store.artifacts import Store
from edgekd.zoo import ModelSpec, build, fresh_of_widths, widths, with_widths
from tests.made import facts_of, loaded, stored_model

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=16)


def halved(spec: ModelSpec) -> dict[str, dict[str, int]]:
    torch.manual_seed(1)
    found = prune(build(spec).eval(), spec, 0.5, importance=L2(), scope="layer", max_ratio=0.8, isa="x86-avx2")
    return widths(found.model)


def test_a_fresh_network_has_the_widths_and_the_first_channels_of_a_new_one() -> None:
    wanted = halved(SPEC)
    torch.manual_seed(5)
    new = build(SPEC).state_dict()

    torch.manual_seed(5)
    fresh = fresh_of_widths(SPEC, wanted)

    assert widths(fresh) == wanted != widths(build(SPEC))
    for name, tensor in fresh.state_dict().items():
        kept = new[name][tuple(slice(length) for length in tensor.shape)]
        if tensor.dim() > 1:
            kept = kept * (tensor.flatten() @ kept.flatten() / kept.flatten().square().sum())
        assert torch.allclose(tensor, kept), name


@pytest.mark.parametrize(
    ("layer", "after", "scale"),
    [
        (nn.Conv2d(8, 8, 3), {"in_channels": 2, "out_channels": 4, "groups": 1}, 2.0),
        (nn.Linear(9, 4), {"in_features": 1, "out_features": 4}, 3.0),
        (
            nn.ConvTranspose2d(8, 4, 3),
            {"in_channels": 2, "out_channels": 2, "groups": 1},
            2.0,
        ),
        (nn.Conv2d(8, 8, 3, groups=8), {"in_channels": 4, "out_channels": 4, "groups": 4}, 1.0),
    ],
    ids=["convolution", "linear", "transposed", "depthwise"],
)
def test_weights_grow_as_the_inputs_that_an_output_sums_get_fewer(
    layer: nn.Module, after: dict[str, int], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    monkeypatch.setattr(sys.modules["edgekd.zoo.widths"], "build", lambda _: nn.Sequential(layer))

    fresh = fresh_of_widths(SPEC, {"0": after}).state_dict()

    for key in ("weight", "bias"):
        found = fresh[f"0.{key}"]
        kept = drawn[key][tuple(slice(length) for length in found.shape)]
        assert torch.equal(found, kept * (scale if key == "weight" else 1.0))


def test_signals_keep_their_strength_without_any_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights cut and not scaled would halve them three times."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(1, 64, 3), *(nn.Conv2d(64, 64, 3, bias=False) for _ in range(3)))
    images = torch.randn(16, 1, 16, 16)
    with torch.no_grad():
        before = float(whole(images).std())
    wanted = {str(layer): {"in_channels": 16 if layer else 1, "out_channels": 16} for layer in range(4)}
    wanted = {name: {**about, "groups": 1} for name, about in wanted.items()}
    monkeypatch.setattr(sys.modules["edgekd.zoo.widths"], "build", lambda _: whole)

    with torch.no_grad():
        after = float(fresh_of_widths(SPEC, wanted)(images).std())

    assert after / before == pytest.approx(1.0, abs=0.25)


def student(folder: Path, stage: Distill) -> tuple[nn.Module, nn.Module]:
    """The network of a source, and what a distill stage begins with."""
    store = Store(folder)
    source = stored_model(store, "5" * 64, with_widths(build(SPEC), halved(SPEC)), SPEC)
    data, target = load_dataset(Digits(image_size=16)), Target()
    ctx = Context(
        "here", "distill", "6" * 64, {"source": source}, data, target, 0, store, Progress(), facts_of("x"), 0.0
    )
    torch.manual_seed(0)
    return loaded(source)[0], stage._student(ctx)[0]


def test_a_fresh_student_keeps_its_source_s_widths_and_none_of_its_weights(tmp_path: Path) -> None:
    source, fresh = student(tmp_path, Distill(fresh=True))

    assert widths(fresh) == widths(source)
    convolutions = [name for name, tensor in source.state_dict().items() if tensor.dim() == 4]
    assert not any(torch.equal(source.state_dict()[name], fresh.state_dict()[name]) for name in convolutions)
    assert all(float(fresh.state_dict()[name].std()) > 0 for name in convolutions)


def test_without_it_a_student_is_its_source_and_the_digest_says_nothing_of_it(tmp_path: Path) -> None:
    source, same = student(tmp_path, Distill())

    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in source.state_dict().items())
    assert "fresh" not in Distill(fresh=False).deciding_settings()
    assert Distill(fresh=True).deciding_settings()["fresh"] is True


def test_a_student_that_model_names_is_fresh_anyway() -> None:
    with pytest.raises(ValueError, match=r"is not read, since a student that model names is fresh"):
        Distill(model="resnet8", fresh=True)
    assert "fresh" not in Distill(model="resnet8").model_dump()


def test_an_assistant_of_a_fresh_student_has_the_widths_of_its_own_architecture(tmp_path: Path) -> None:
    stages = [
        {"stage": "teacher", "model": "resnet8"},
        {"stage": "prune", "pruning_ratio": 0.5},
        {"stage": "distill", "fresh": True, "assistants": [0.5]},
    ]
    assistant = Pipeline.model_validate({"name": "x", "stages": stages}).stages[2]
    assert isinstance(assistant, Distill)

    _, found = student(tmp_path, assistant)

    assert widths(found) == widths(build(SPEC.model_copy(update={"width_mult": 0.5})))


def test_a_fresh_student_is_planned_as_its_source_s_heir() -> None:
    stages = [{"stage": "teacher", "model": "resnet8"}, {"stage": "prune", "pruning_ratio": 0.5}]
    plain, fresh = (
        Pipeline.model_validate({"name": "x", "stages": [*stages, {"stage": "distill", **more}]})
        for more in ({}, {"fresh": True})
    )

    digests = [
        [item.digest for item in pipeline.drafts(load_dataset(Digits(image_size=8)))] for pipeline in (plain, fresh)
    ]

    assert digests[0][:2] == digests[1][:2]
    assert digests[0][2] != digests[1][2]
