"""Distillation: what teaches when, and what is never read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.artifact import Store, save_model
from edgekd.data import DataSettings, load_dataset
from edgekd.errors import ConfigError
from edgekd.losses import kd_loss
from edgekd.runtime import Progress
from edgekd.stages import Context, Distill
from edgekd.stages.base import distillation, frozen
from edgekd.target import Target
from edgekd.training import LossParts, Recipe, fit
from edgekd.zoo import ModelSpec, build

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8, width_mult=0.5)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    return build(SPEC), frozen(build(SPEC))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(6, 1, 8, 8, generator=generator), torch.randint(0, 10, (6,), generator=generator)


def trained(loss_of: str) -> dict[str, Tensor]:
    """A student trained with beta 0 through the stage's loss, or with plain cross-entropy."""
    student, teacher = networks()
    plain = lambda images, labels, _: LossParts(F.cross_entropy(student(images), labels))  # noqa: E731
    loss = Distill(alpha=1.0, beta=0.0).batch_loss(student, teacher) if loss_of == "distill" else plain
    fit(student, loss, load_dataset(DataSettings(image_size=8)), Recipe(1, 0.05, 128, 1e-4), seed=5)
    return student.state_dict()


def test_beta_zero_equals_plain_fine_tuning_to_the_bit() -> None:
    distilled, plain = trained("distill"), trained("plain")

    assert all(torch.equal(distilled[name], plain[name]) for name in plain)


def test_alpha_zero_reads_no_label() -> None:
    student, teacher = networks()
    images, _ = batch()
    nonsense = torch.full((6,), 10_000)

    loss = Distill(alpha=0.0).batch_loss(student.eval(), teacher)(images, nonsense, 0.0)

    assert loss.total.item() == pytest.approx(0.9 * kd_loss(student(images), teacher(images), 4.0).item())


def test_the_total_is_alpha_ce_plus_beta_kd() -> None:
    student, teacher = networks()
    images, labels = batch()

    loss = Distill(alpha=0.3, beta=0.5, temperature=2.0).batch_loss(student.eval(), teacher)(images, labels, 0.0)

    ce, kd = F.cross_entropy(student(images), labels), kd_loss(student(images), teacher(images), 2.0)
    assert loss.total.item() == pytest.approx((0.3 * ce + 0.5 * kd).item())
    assert {"loss", "ce", "kd"} == set(loss.parts)


@pytest.mark.parametrize(("progress", "teaches"), [(0.1, False), (0.2, True), (0.7, True), (0.8, False), (0.9, False)])
def test_the_teacher_s_term_counts_from_start_to_stop(progress: float, teaches: bool) -> None:
    student, teacher = networks()
    settings = Distill(start_teacher_at=0.2, stop_teacher_at=0.8)

    loss = settings.batch_loss(student.eval(), teacher)(*batch(), progress)

    assert (loss.parts["kd"].item() > 0) == teaches


def test_the_teacher_sees_the_very_same_tensor_and_stays_in_eval_mode() -> None:
    student, teacher = networks()
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    images, labels = batch()

    Distill().batch_loss(student.train(), teacher)(images, labels, 0.0).total.backward()  # type: ignore[no-untyped-call]

    assert seen[0] is images
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_standardised_logits_make_scale_and_shift_free() -> None:
    student, teacher = nn.Linear(4, 10), nn.Linear(4, 10)
    with torch.no_grad():
        student.weight.copy_(3 * teacher.weight)
        student.bias.copy_(3 * teacher.bias + 2)

    settings = Distill(standardize=True, alpha=0.0)
    loss = settings.batch_loss(student, frozen(teacher))(torch.randn(5, 4), torch.zeros(5).long(), 0.0)

    assert loss.total.item() == pytest.approx(0.0, abs=1e-5)


def test_without_a_teacher_term_the_teacher_is_not_asked() -> None:
    student, teacher = networks()
    asked: list[int] = []
    teacher.register_forward_hook(lambda *_: asked.append(1))

    distillation(student, teacher, lambda s, t, _: kd_loss(s, t, 1.0), 1.0, 0.0)(*batch(), 0.0)

    assert asked == []


def test_a_teacher_of_other_classes_is_refused_with_its_place(tmp_path: Path) -> None:
    store, digest = Store(tmp_path), "f" * 64
    manifest: dict[str, Any] = {"facts": {"id": "teacher"}}
    with store.writing(digest, manifest) as folder:
        manifest["model"] = save_model(folder, build(SPEC), SPEC)
    artifact = store.find(digest)
    assert artifact is not None
    data = load_dataset(DataSettings(image_size=8))
    ctx = Context("stages[2]", "distill", "", {"teacher": artifact}, data, Target(), 0, store, Progress(), {}, 0.0)
    student = ModelSpec(**{**SPEC.model_dump(), "num_classes": 4})

    with pytest.raises(ConfigError, match=r"stages\[2\]\.teacher: the teacher tells 10 classes apart, the student 4;"):
        ctx.load_teacher(student)
