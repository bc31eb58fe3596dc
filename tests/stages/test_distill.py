"""Distillation: what teaches when, and what is never read."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Batch, Digits, load_dataset
from edgekd.errors import ConfigError, ModelError
from edgekd.pipeline import Pipeline
from edgekd.stages import Context, Distill
from edgekd.stages.base import frozen
from edgekd.stages.teachers import capacity_gap
from edgekd.stages.teaching import taught_schedule
from edgekd.store.artifacts import Store
from edgekd.training.fit import LossParts, Schedule, fit, learning_rate
from edgekd.training.losses import kd_loss
from edgekd.zoo import ModelSpec, build, with_activations
from edgekd.zoo.build import _swap_activations
from tests.chain import write_pipeline
from tests.made import facts_of, loaded, stored_model

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8, width_mult=0.5)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    return build(SPEC), frozen(build(SPEC))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(4)
    return Batch(torch.randn(6, 1, 8, 8, generator=generator), torch.randint(0, 10, (6,), generator=generator))


def trained(loss_of: str) -> dict[str, Tensor]:
    """A student trained with beta 0 through the stage's loss, or with plain cross-entropy."""
    student, teacher = networks()
    plain = lambda batch, _: LossParts(F.cross_entropy(student(batch.images), batch.labels))  # noqa: E731
    loss = Distill(beta=0.0).batch_loss(student, teacher) if loss_of == "distill" else plain
    fit(student, loss, load_dataset(Digits(image_size=8)), Schedule(1, 0.05, 128, 1e-4), seed=5)
    return student.state_dict()


def test_beta_zero_equals_plain_fine_tuning_to_the_bit() -> None:
    distilled, plain = trained("distill"), trained("plain")

    assert all(torch.equal(distilled[name], plain[name]) for name in plain)


def test_alpha_zero_reads_no_label() -> None:
    student, teacher = networks()
    images, _, _ = batch()
    nonsense = torch.full((6,), 10_000)

    loss = Distill(alpha=0.0).batch_loss(student.eval(), teacher)(Batch(images, nonsense), 0.0)

    assert loss.total.item() == pytest.approx(0.9 * kd_loss(student(images), teacher(images), 4.0).item())


def test_the_total_is_alpha_ce_plus_beta_kd() -> None:
    student, teacher = networks()
    images, labels, _ = batch()

    loss = Distill(alpha=0.3, beta=0.5, temperature=2.0).batch_loss(student.eval(), teacher)(Batch(images, labels), 0.0)

    ce, kd = F.cross_entropy(student(images), labels), kd_loss(student(images), teacher(images), 2.0)
    assert loss.total.item() == pytest.approx((0.3 * ce + 0.5 * kd).item())
    assert {"loss", "ce", "kd"} == set(loss.parts)


@pytest.mark.parametrize(("progress", "teaches"), [(0.1, False), (0.2, True), (0.7, True), (0.8, False), (0.9, False)])
def test_the_teacher_s_term_counts_from_start_to_stop(progress: float, teaches: bool) -> None:
    student, teacher = networks()
    settings = Distill(start_teacher_at=0.2, stop_teacher_at=0.8)

    loss = settings.batch_loss(student.eval(), teacher)(batch(), progress)

    assert (loss.parts["kd"].item() > 0) == teaches


@pytest.mark.parametrize("progress", [0.1, 0.8, 0.9])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_while_the_teacher_is_off_the_labels_weigh_one(alpha: float, progress: float) -> None:
    student, teacher = networks()
    images, labels, _ = batch()
    settings = Distill(alpha=alpha, start_teacher_at=0.2, stop_teacher_at=0.8)

    loss = settings.batch_loss(student.eval(), teacher)(Batch(images, labels), progress)

    assert loss.total.item() == F.cross_entropy(student(images), labels).item()


def test_what_is_not_read_is_no_part_of_the_settings() -> None:
    assert {"alpha", "temperature", "labels_lr", "stop_teacher_at"}.isdisjoint(Distill(beta=0.0).deciding_settings())
    assert "labels_lr" not in Distill().deciding_settings()
    assert "labels_lr" in Distill(stop_teacher_at=0.5).deciding_settings()


def test_the_labels_alone_learn_at_a_rate_of_their_own() -> None:
    stage = Distill(lr=0.2, stop_teacher_at=0.6, labels_lr=0.3)
    second = taught_schedule(stage).second

    rates = [learning_rate(at, stage.lr, 0.2, second) for at in (0.4, 0.6, 0.8, 1.0)]

    assert rates == pytest.approx([learning_rate(0.4, 0.2, 0.2), 0.06, 0.03, 0.0])


def test_the_teacher_sees_the_very_same_tensor_and_stays_in_eval_mode() -> None:
    student, teacher = networks()
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    images, labels, _ = batch()

    Distill().batch_loss(student.train(), teacher)(Batch(images, labels), 0.0).total.backward()  # type: ignore[no-untyped-call]

    assert seen[0] is images
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_standardised_logits_make_scale_and_shift_free() -> None:
    student, teacher = nn.Linear(4, 10), nn.Linear(4, 10)
    with torch.no_grad():
        student.weight.copy_(3 * teacher.weight)
        student.bias.copy_(3 * teacher.bias + 2)

    settings = Distill(standardize=True, alpha=0.0)
    loss = settings.batch_loss(student, frozen(teacher))(Batch(torch.randn(5, 4), torch.zeros(5).long()), 0.0)

    assert loss.total.item() == pytest.approx(0.0, abs=1e-5)


def test_without_a_teacher_term_the_teacher_is_not_asked() -> None:
    student, teacher = networks()
    asked: list[int] = []
    teacher.register_forward_hook(lambda *_: asked.append(1))

    Distill(beta=0.0).batch_loss(student, teacher)(batch(), 0.0)

    assert asked == []


def test_a_teacher_of_other_classes_is_refused_with_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = stored_model(store, "f" * 64, build(SPEC), SPEC)
    data = load_dataset(Digits(image_size=8))
    ctx = Context(
        "stages[2]",
        "distill",
        "",
        {"teacher": artifact},
        data,
        Target(),
        0,
        store,
        Progress(),
        facts_of("distill"),
        0.0,
    )
    student = ModelSpec(**{**SPEC.model_dump(), "num_classes": 4})

    with pytest.raises(ConfigError, match=r"stages\[2\]\.teacher: the teacher tells 10 classes apart, the student 4;"):
        ctx.load_teacher(student)


def test_a_teacher_that_is_much_larger_is_warned_of_with_a_remedy() -> None:
    assert capacity_gap(19_999_999, 1_000_000) is None

    assert "20 times the student's parameters" in str(capacity_gap(20_000_000, 1_000_000))
    assert "teacher assistant" in str(capacity_gap(20_000_000, 1_000_000))


ASSISTANT = """
    name: assistant
    data: {name: digits, image_size: 8}
    stages:
      - {stage: teacher, model: resnet14, epochs: 1}
      - {stage: distill, id: assistant, model: resnet8, width_mult: 0.5, epochs: 1}
      - {stage: distill, id: student, model: resnet8, width_mult: 0.25, teacher: assistant, epochs: 1}
      - {stage: export}
"""


@pytest.mark.slow
def test_an_assistant_stands_between_a_teacher_and_a_small_student(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, ASSISTANT))

    report = pipeline.run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    planned = {item.name: item for item in pipeline.plan(tmp_path / "models")}
    assert planned["student"].references == {"teacher": "assistant"}
    params = {model.id: model.params for model in report.models}
    assert params["teacher"] > params["assistant"] > params["student"]


@pytest.mark.slow
def test_a_gap_that_was_warned_of_stands_in_the_report(tmp_path: Path) -> None:
    text = ASSISTANT.replace("resnet14", "resnet20").replace("teacher: assistant", "teacher: teacher")

    report = Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    assert [note for note in report.notes if note.startswith("student: the teacher has")]
    assert not [note for note in report.notes if note.startswith("assistant: the teacher has")]


@pytest.mark.parametrize("activations", ["relu", "relu6"])
def test_other_activations_keep_every_weight(activations: Literal["relu", "relu6"]) -> None:
    spec = ModelSpec(name="mobilenet_v3_small", num_classes=3, in_channels=1, image_size=32)
    model = build(spec)

    twin, other = with_activations(model, spec, activations)

    kinds = {type(module) for module in twin.modules()}
    assert nn.Hardswish not in kinds
    assert nn.Hardsigmoid in kinds
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())
    assert {type(module) for module in build(other).modules()} == kinds


def test_gelu_is_replaced_where_others_read_its_input_too() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.GELU()

        def forward(self, images: Tensor) -> Tensor:
            return images + self.act(images)  # type: ignore[no-any-return]

    model = Gated()
    _swap_activations(model, "relu")

    assert model(torch.tensor([-1.0, 2.0])).tolist() == [-1.0, 4.0]


def test_a_network_without_such_activations_is_refused() -> None:
    with pytest.raises(ModelError, match="no smooth activation"):
        with_activations(build(SPEC), SPEC, "relu6")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"width_mult": 0.5}, "goes with a fresh student"),
        ({"model": "resnet8", "source": "prune"}, "names a student, and so does model"),
        ({"labels_lr": 0.2}, "is not read, since stop_teacher_at is 1"),
        ({"beta": 0, "alpha": 1}, "is not read, since beta is 0"),
        ({"beta": 0, "temperature": 2}, "is not read, since beta is 0"),
        ({"beta": 0, "stop_teacher_at": 0.5}, "is not read, since beta is 0"),
        ({"beta": 0, "teacher": "big"}, "is not read, since beta is 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Distill(**settings)


@pytest.mark.slow
def test_a_network_is_born_again_as_the_student_of_one_of_its_own_kind(tmp_path: Path) -> None:
    again = "{stage: distill, model: resnet8, width_mult: 0.5, epochs: 1}\n"
    head, _, _ = ASSISTANT.replace("resnet14", "resnet8, width_mult: 0.5").partition("      - {stage: distill")
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, f"{head}      - {again}"))

    pipeline.run(tmp_path / "models", tmp_path / "exports")

    teacher, student = pipeline.plan(tmp_path / "models")
    assert student.references == {"teacher": "teacher"}
    assert teacher.artifact is not None
    assert student.artifact is not None
    one, other = loaded(teacher.artifact)[0].state_dict(), loaded(student.artifact)[0].state_dict()
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
