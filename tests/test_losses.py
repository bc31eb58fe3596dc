"""Distillation losses against values computed by hand."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional as F

from edgekd.errors import ShapeError
from edgekd.training.losses import AnyLoss, Loss, dist_loss, dkd_loss, kd_loss, standardized, uncorrelated

TEACHER, STUDENT, LABEL = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([0])


NAMES = sorted(member.model_fields["name"].default for member in get_args(get_args(AnyLoss)[0]))


def named(given: object) -> Loss:
    """A loss as a pipeline file says it."""
    loss: Loss = TypeAdapter(AnyLoss).validate_python(given)
    return loss


def random_logits(rows: int = 8, classes: int = 10) -> tuple[Tensor, Tensor]:
    pair = torch.randn(2, rows, classes, generator=torch.Generator().manual_seed(0))
    return pair[0], pair[1]


def test_kd_is_zero_only_when_the_distributions_agree() -> None:
    logits, other = random_logits()

    assert kd_loss(logits, logits, 4.0).item() == 0.0
    assert kd_loss(logits, logits + 3.0, 4.0).item() == pytest.approx(0.0, abs=1e-6)
    assert kd_loss(logits, other, 4.0).item() > 0.01


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.266217), (2.0, 0.313684), (4.0, 0.328202)])
def test_kd_gives_the_values_computed_by_hand(temperature: float, expected: float) -> None:
    assert kd_loss(STUDENT.double(), TEACHER.double(), temperature).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.266217), (2.0, 0.078421), (4.0, 0.020513)])
def test_without_the_factor_kd_is_the_divergence_computed_by_hand(temperature: float, expected: float) -> None:
    found = kd_loss(STUDENT.double(), TEACHER.double(), temperature) / temperature**2

    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_weighted_sum_with_cross_entropy_is_as_computed_by_hand() -> None:
    ce = F.cross_entropy(STUDENT.double(), LABEL)

    assert ce.item() == pytest.approx(math.log(3))
    assert (0.1 * ce + 0.9 * kd_loss(STUDENT.double(), TEACHER.double(), 4.0)).item() == pytest.approx(
        0.405243, abs=1e-6
    )


def test_the_gradient_is_t_times_the_difference_of_probabilities() -> None:
    student = STUDENT.clone().requires_grad_()

    kd_loss(student, TEACHER, 4.0).backward()  # type: ignore[no-untyped-call]

    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[-0.343582, 0.027350, 0.316232]]), atol=1e-6, rtol=0)


def test_at_high_temperature_kd_tends_to_the_squared_difference_of_centred_logits() -> None:
    assert kd_loss(STUDENT.double(), TEACHER.double(), 1000.0).item() == pytest.approx(1 / 3, abs=1e-4)


def test_kd_is_a_mean_over_images_not_over_classes() -> None:
    logits, other = random_logits()

    each = [kd_loss(logits[i : i + 1], other[i : i + 1], 2.0).item() for i in range(len(logits))]

    assert kd_loss(logits, other, 2.0).item() == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_the_teacher_comes_first_in_the_divergence() -> None:
    p, q = torch.softmax(TEACHER[0], 0), torch.softmax(STUDENT[0], 0)

    by_hand = (p * (p / q).log()).sum().item()

    assert kd_loss(STUDENT, TEACHER, 1.0).item() == pytest.approx(by_hand, abs=1e-6)
    assert kd_loss(TEACHER, STUDENT, 1.0).item() != pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_flows_into_the_teacher(name: str) -> None:
    student, teacher = (logits.clone().requires_grad_() for logits in random_logits())

    named(name)(student, teacher, torch.zeros(8).long(), 2.0).backward()  # type: ignore[no-untyped-call]

    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize(("temperature", "target", "others"), [(1.0, 0.229077, 0.110944), (4.0, 0.256169, 0.124030)])
def test_dkd_gives_both_parts_as_computed_by_hand(temperature: float, target: float, others: float) -> None:
    parts = [dkd_loss(STUDENT, TEACHER, LABEL, temperature, *weights).item() for weights in ((1.0, 0.0), (0.0, 1.0))]

    assert parts == pytest.approx([target, others], abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_kd_is_tckd_plus_the_others_share_of_nckd(temperature: float) -> None:
    share = 1 - torch.softmax(TEACHER[0] / temperature, 0)[0].item()

    assert dkd_loss(STUDENT, TEACHER, LABEL, temperature, 1.0, share).item() == pytest.approx(
        kd_loss(STUDENT, TEACHER, temperature).item(), rel=1e-5
    )


def test_dkd_follows_each_image_s_own_label_as_numpy_does() -> None:
    student, teacher = random_logits(5, 4)
    labels = [3, 0, 2, 1, 3]

    def parts(student: np.ndarray, teacher: np.ndarray, label: int) -> tuple[float, float]:
        p, q = (np.exp(logits / 2) / np.exp(logits / 2).sum() for logits in (teacher, student))
        target = p[label] * np.log(p[label] / q[label]) + (1 - p[label]) * np.log((1 - p[label]) / (1 - q[label]))
        p, q = (np.delete(share, label) / (1 - share[label]) for share in (p, q))
        return float(target), float((p * np.log(p / q)).sum())

    by_hand = np.mean([parts(*row) for row in zip(student.numpy(), teacher.numpy(), labels, strict=True)], axis=0)
    found = dkd_loss(student, teacher, torch.tensor(labels), 2.0, 1.5, 8.0).item()
    assert found == pytest.approx(4 * (1.5 * by_hand[0] + 8.0 * by_hand[1]), rel=1e-5)


def test_dkd_of_two_classes_has_no_other_classes_to_compare() -> None:
    student, teacher = random_logits(4, 2)

    assert dkd_loss(student, teacher, torch.tensor([0, 1, 1, 0]), 2.0, 0.0, 1.0).item() == 0.0


def test_standardised_logits_have_the_values_computed_by_hand() -> None:
    found = standardized(torch.tensor([[3.0, 2.0, 0.0]]))

    torch.testing.assert_close(found, torch.tensor([[0.872872, 0.218218, -1.091089]]), atol=1e-6, rtol=0)


def test_standardised_kd_sees_neither_scale_nor_shift() -> None:
    logits, _ = random_logits()

    assert kd_loss(standardized(3 * logits + 2), standardized(logits), 2.0).item() == pytest.approx(0.0, abs=1e-6)
    found = kd_loss(standardized(torch.tensor([[3.0, 2.0, 0.0]])), standardized(TEACHER), 2.0)
    assert found.item() == pytest.approx(0.012323, abs=1e-6)


def test_dist_s_relation_between_classes_is_as_computed_by_hand() -> None:
    student, teacher = (
        torch.tensor([[3.0, 2.0, 0.0], [0.0, 1.0, 1.0]]),
        torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0]]),
    )

    assert uncorrelated(student.softmax(1), teacher.softmax(1)).item() == pytest.approx(0.147371, abs=1e-6)


def test_dist_agrees_with_numpy_s_correlation_both_ways() -> None:
    student, teacher = random_logits(6, 4)
    rows, others = student.softmax(1).double().numpy(), teacher.softmax(1).double().numpy()

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(1 - np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]))

    expected = apart(rows, others) + apart(rows.T, others.T)
    assert dist_loss(student, teacher, 1.0).item() == pytest.approx(expected, abs=1e-5)
    assert dist_loss(3 * student, 3 * teacher, 3.0).item() == pytest.approx(9 * expected, abs=9e-5)
    assert dist_loss(student, student, 3.0).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_very_sure_answers_give_finite_losses_and_gradients(name: str) -> None:
    student, teacher = (1000 * logits for logits in random_logits())
    student.requires_grad_()

    loss = named(name)(student, teacher, torch.arange(8), 1.0)
    loss.backward()  # type: ignore[no-untyped-call]

    assert student.grad is not None
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, [1.0, 1.3888e-11, 6.9144e-13, 6.9144e-13]), (10.0, [0.8308, 0.0682, 0.0505, 0.0505])],
)
def test_softened_logits_are_those_of_the_article(temperature: float, expected: list[float]) -> None:
    logits = torch.tensor([30.0, 5.0, 2.0, 2.0], dtype=torch.float64)

    assert torch.softmax(logits / temperature, 0).tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("student", "teacher"), [((1, 3), (2, 3)), ((1, 3), (1, 4)), ((1, 3), (3,)), ((3,), (3,))])
def test_logits_that_are_not_alike_are_refused_with_both_shapes(
    name: str, student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError) as caught:
        named(name)(torch.zeros(student), torch.zeros(teacher), LABEL, 1.0)

    assert (
        str(caught.value) == f"logits: must be (batch, classes) and alike, found student {student}, teacher {teacher}"
    )


def test_a_loss_s_own_parameters_come_from_the_file_and_act() -> None:
    student, teacher = random_logits()
    labels = torch.arange(8)

    found = named({"name": "dkd", "target_weight": 2, "others_weight": 0.5})(student, teacher, labels, 2.0)

    assert found.item() == pytest.approx(dkd_loss(student, teacher, labels, 2.0, 2.0, 0.5).item())
    assert named("dkd")(student, teacher, labels, 2.0).item() == dkd_loss(student, teacher, labels, 2.0).item()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_written_as_its_name_where_that_says_all_and_every_parameter_is_described(name: str) -> None:
    loss = named(name)

    assert named({"name": name}) == loss
    assert loss.model_dump_json() == f'"{name}"'
    assert all(field.description for key, field in type(loss).model_fields.items() if key != "name")


def test_what_is_not_usual_of_a_loss_is_written_and_read_again() -> None:
    loss = named({"name": "dkd", "others_weight": 4})

    assert loss.model_dump() == {"name": "dkd", "others_weight": 4.0}
    assert named(loss.model_dump()) == loss
