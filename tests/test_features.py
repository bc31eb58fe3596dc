"""Feature terms against values computed by hand, the places they compare, and the channels that pruning kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from edgekd.config import validate
from edgekd.config.progress import Progress
from edgekd.data import Batch
from edgekd.errors import ConfigError, ShapeError
from edgekd.pipeline import Pipeline
from edgekd.pruning.criteria import L2
from edgekd.pruning.cut import silenced
from edgekd.pruning.structure import structure_of
from edgekd.stages import Distill
from edgekd.stages.base import frozen
from edgekd.stages.features import compared
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.store.artifacts import Store
from edgekd.training.features import (
    AnyFeatures,
    Channels,
    Features,
    Similarity,
    attention_loss,
    channels_loss,
    similarity_loss,
)
from edgekd.training.losses import kd_loss
from edgekd.zoo import ModelSpec, Watch, build, places_of, random_images
from tests.chain import write_pipeline
from tests.made import said

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8, width_mult=1.0)
LOSSES = (attention_loss, similarity_loss, channels_loss)
NAMES = sorted(member.model_fields["name"].default for member in get_args(get_args(AnyFeatures)[0]))


def maps(*images: list[list[float]]) -> Tensor:
    """Features of images: for each its channels, each a row of places."""
    return torch.tensor(images)[:, :, None, :]


def test_attention_has_the_value_computed_by_hand() -> None:
    student, teacher = maps([[3.0, 4.0]]), maps([[1.0, 0.0], [0.0, 1.0]])

    # Squares 9, 16 and 1, 1; scaled to norm 1: .490261, .871576 and .707107 twice.
    assert attention_loss(student, teacher).item() == pytest.approx(0.018518, abs=1e-5)
    assert attention_loss(7 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-7)


def test_similarity_has_the_value_computed_by_hand() -> None:
    student, teacher = maps([[1.0, 0.0]], [[1.0, 1.0]]), maps([[1.0], [0.0]], [[0.0], [1.0]])

    # Rows (1, 1) and (1, 2), scaled to norm 1, against (1, 0) and (0, 1).
    assert similarity_loss(student, teacher).item() == pytest.approx(0.199234, abs=1e-5)
    assert similarity_loss(3 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-7)


def test_channels_have_the_value_computed_by_hand_and_none_of_size_or_scale() -> None:
    student, teacher = maps([[1.0, 2.0]]), maps([[2.0, 2.0]])

    assert channels_loss(student, teacher).item() == pytest.approx(0.125)
    assert channels_loss(10 * student, 10 * teacher).item() == pytest.approx(0.125)
    assert channels_loss(student.repeat(1, 3, 5, 1), teacher.repeat(1, 3, 5, 1)).item() == pytest.approx(0.125)
    assert channels_loss(0 * student, teacher).item() == pytest.approx(1.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_gradient_flows_into_the_student_alone_and_silence_is_no_fault(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    student, teacher = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()
    student.retain_grad()
    teacher.retain_grad()

    loss(student, teacher).backward()  # type: ignore[no-untyped-call]

    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert loss(torch.zeros(3, 4, 5, 5), torch.zeros(3, 4, 5, 5)).isfinite()


@pytest.mark.parametrize(
    ("loss", "wrong"), [(LOSSES[0], (2, 4, 5, 6)), (LOSSES[1], (3, 4, 5, 5)), (LOSSES[2], (2, 3, 5, 5))]
)
def test_features_that_cannot_be_compared_are_refused_with_both_shapes(
    loss: Callable[[Tensor, Tensor], Tensor], wrong: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=r"found student \(2, 4, 5, 5\), teacher"):
        loss(torch.zeros(2, 4, 5, 5), torch.zeros(wrong))


@pytest.mark.parametrize("name", NAMES)
def test_a_term_is_written_as_its_name_or_with_its_weight(name: str) -> None:
    read: Callable[[object], Features] = TypeAdapter(AnyFeatures).validate_python

    assert read(name).model_dump_json() == f'"{name}"'
    assert read({"name": name, "weight": 0.5}).model_dump() == {"name": name, "weight": 0.5}


class Twice(nn.Module):
    """One ReLU behind two convolutions, and a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU()
        self.fc = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.two(self.relu(self.one(images))))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


def test_the_places_are_the_last_map_of_each_size_and_know_their_layers() -> None:
    found = places_of(build(SPEC), random_images(SPEC, 2))

    assert [(place.module, place.side, place.channels) for place in found.values()] == [
        ("layer1", (8, 8), 16),
        ("layer2", (4, 4), 32),
        ("layer3", (2, 2), 64),
    ]
    assert found[8, 8].layers == ("layer1.0.conv2", "conv1")
    assert found[4, 4].layers == ("layer2.0.conv2", "layer2.0.shortcut.0")


def test_a_module_that_is_called_twice_is_two_places() -> None:
    model, images = Twice(), random_images(SPEC, 2)
    places = list(places_of(model, images).values())

    watch = Watch(model, model, places)
    watch(images)

    assert [(place.module, place.call, place.layers) for place in places] == [
        ("relu", 0, ("one",)),
        ("relu", 1, ("two",)),
    ]
    assert torch.equal(watch.seen[0], model.one(images).relu())
    assert [tuple(seen.shape) for seen in watch.seen] == [(2, 4, 8, 8), (2, 6, 4, 4)]
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["resnet14", "mobilenet_v2"])
def test_a_pruned_network_s_channels_are_those_of_the_whole_one_without_the_others(name: str) -> None:
    spec = SPEC.model_copy(update={"name": name, "image_size": 32})
    torch.manual_seed(0)
    model = build(spec).eval()
    structure = structure_of(model, spec, L2())
    keep = [group.channels if group.kept_because else max(1, group.channels // 2) for group in structure.groups]
    without, images = silenced(model, structure._cut(keep)).eval(), random_images(spec, 4)

    smaller, stayed = structure.proved(keep), structure.stay(keep)
    found = compared(Channels(), smaller, without, spec, stayed, "here")
    term = found.watching(smaller, smaller, without, without)
    with torch.no_grad():
        term.student(images), term.teacher(images)

    assert len(found.pairs) >= 3
    assert all(pair.channels is not None and len(pair.channels) < pair.teacher.channels for pair in found.pairs)
    assert term.value().item() == pytest.approx(0.0, abs=1e-6)
    other = compared(Channels(), smaller, without, spec, {k: [*range(len(v))] for k, v in stayed.items()}, "here")
    term = other.watching(smaller, smaller, without, without)
    with torch.no_grad():
        term.student(images), term.teacher(images)
    assert term.value().item() > 0.1


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    return build(SPEC.model_copy(update={"width_mult": 0.5})), frozen(build(SPEC))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(4)
    return Batch(torch.randn(6, 1, 8, 8, generator=generator), torch.randint(0, 10, (6,), generator=generator))


def test_the_term_comes_on_top_with_its_own_weight_and_is_logged_under_its_name() -> None:
    student, teacher = networks()
    images, labels, _ = batch()
    stage = Distill(alpha=0.0, beta=0.5, features=Similarity(weight=2.0))
    inside = compared(Similarity(weight=2.0), student, teacher, SPEC, None, "here")

    loss = stage.batch_loss(student.eval(), teacher, inside)(Batch(images, labels), 0.0)
    loss.total.backward()  # type: ignore[no-untyped-call]

    places = list(places_of(teacher, images).values())
    own, others = (Watch(model, model, places) for model in (student, teacher))
    logits, taught = own(images), others(images)
    by_hand = sum(similarity_loss(a, b) for a, b in zip(own.seen, others.seen, strict=True))
    assert loss.total.item() == pytest.approx((0.5 * kd_loss(logits, taught, 4.0) + 2.0 * by_hand).item())
    assert set(loss.parts) == {"loss", "ce", "kd", "similarity"}
    assert inside.in_words == "similarity compares layer1, layer2, layer3"


def test_where_the_labels_teach_alone_nothing_inside_is_compared() -> None:
    student, teacher = networks()
    inside = compared(Similarity(), student, teacher, SPEC, None, "here")
    stage = Distill(features=Similarity(), stop_teacher_at=0.5)

    loss = stage.batch_loss(student, teacher, inside)(batch(), 0.6)

    assert loss.parts["similarity"].item() == 0.0
    assert loss.total.item() == loss.parts["ce"].item()


def test_networks_without_a_map_of_one_size_are_refused() -> None:
    student, teacher = networks()

    with pytest.raises(ConfigError, match=r"here: student and teacher have no feature maps of one size \(3x3 and 8x8,"):
        compared(Similarity(), nn.Sequential(nn.Conv2d(1, 4, 6)), teacher, SPEC, None, "here")
    with pytest.raises(ConfigError, match="the channels of no layer can be paired; take attention or similarity"):
        compared(Channels(), student, teacher, SPEC, {}, "here")


CUT = """
    name: cut
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, width_mult: 2, epochs: 1, batch_size: 256}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: prune, id: again, pruning_ratio: 0.5}
      - {stage: distill, features: channels, epochs: 1, batch_size: 256}
"""


@pytest.mark.slow
def test_a_student_that_was_pruned_twice_is_held_against_the_channels_it_kept(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, CUT))
    notes: list[str] = []

    class Noting(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    pipeline.run(tmp_path / "models", tmp_path / "exports", progress=Noting())

    _, once, twice, taught = [item.artifact for item in pipeline.plan(tmp_path / "models")]
    assert once is not None
    assert twice is not None
    assert taught is not None
    assert "distill: channels compares layer1, layer2, layer3" in notes
    assert "channels compares layer1, layer2, layer3" in said(taught).told
    history = said(taught).history
    assert history is not None
    assert history.epochs[0].losses["channels"] > 0
    stayed = [manifest_of(each, FloatModel).stayed(each) for each in (once, twice)]
    assert [len((each or {})["conv1"]) for each in stayed] == [16, 8]


@pytest.mark.slow
def test_what_an_older_edgekd_pruned_is_named_with_the_folder_to_delete(tmp_path: Path) -> None:
    head = CUT[: CUT.index("      - {stage: prune, id")]
    store = Store(tmp_path / "models")
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, head))
    pipeline.run(store.root, tmp_path)
    pruned = pipeline.plan(store.root)[-1].artifact
    assert pruned is not None
    facts, weights = pruned.manifest, pruned.read(FloatModel.WEIGHTS)
    with store.writing(pruned.digest, {key: value for key, value in facts.items() if key != "files"}) as folder:
        (folder / FloatModel.WEIGHTS).write_bytes(weights)

    taught = Pipeline.from_yaml(write_pipeline(tmp_path, head + "      - {stage: distill, features: channels}\n"))
    with pytest.raises(ConfigError, match=r"prune was pruned by an older edgekd, .*; delete .* and run again"):
        taught.run(store.root, tmp_path)


def _chain(*stages: dict[str, Any]) -> None:
    teacher = {"stage": "teacher", "model": "resnet8"}
    validate(Pipeline, {"name": "x", "stages": [teacher, *stages]}, "x").check("x")


def test_a_student_that_was_not_cut_from_its_teacher_has_no_channels_to_pair() -> None:
    other = {"stage": "teacher", "id": "other", "model": "resnet14"}
    prune = {"stage": "prune", "pruning_ratio": 0.5}

    with pytest.raises(ConfigError, match=r"x: stages\[3\].features: channels goes with a student that was cut from"):
        _chain(other, prune, {"stage": "distill", "features": "channels"})
    with pytest.raises(ConfigError, match=r"features: pairs the teacher's channels, and a fresh student has none"):
        _chain({"stage": "distill", "model": "resnet8", "features": "channels"})
    with pytest.raises(ConfigError, match=r"x: stages\[1\].features: unknown feature term 'chanels'; did you mean 'ch"):
        _chain({"stage": "distill", "features": "chanels"})
    _chain(other, prune, {"stage": "distill", "teacher": "other", "features": {"name": "channels", "weight": 2.0}})


@pytest.mark.slow
def test_networks_that_cannot_be_compared_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    text = CUT[: CUT.index("      - {stage: prune, pr")] + "      - {stage: distill, model: %s, features: attention}\n"
    stages = write_pipeline(tmp_path, text % "tests.test_features:small_maps")

    told = r"stages\[1\] \(distill\): features: student and teacher have no feature maps of one size \(3x3 and 8x8"
    with pytest.raises(ConfigError, match=told):
        Pipeline.from_yaml(stages).run(tmp_path / "models", tmp_path / "exports")

    assert [*(tmp_path / "models").glob("[0-9a-f]*[0-9a-f]")] == []


def small_maps(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A network whose only feature map has 3x3 places."""
    return nn.Sequential(nn.Conv2d(in_channels, 8, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
