"""Distillation losses: pure functions of tensors; ``AnyLoss`` is what a pipeline may choose among."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn import functional as F

from edgekd.config import Named, by_name
from edgekd.errors import ShapeError


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of the softened distributions.

    T^2 keeps the gradient about the same size at every temperature, so a loss weight keeps its meaning.

    Args:
        student_logits: scores before softmax, shape ``(batch, classes)``.
        teacher_logits: same shape; no gradient flows into it.
        temperature: divides both; > 0, no unit.

    Returns:
        Batch mean, nats times T^2; a scalar, 0 only where the distributions agree.

    Raises:
        ShapeError: the shapes differ or are not 2-D.

    Source: Hinton, Vinyals, Dean (2015), section 2.
    """
    _check_shapes(student_logits, teacher_logits)
    return temperature**2 * _kl(teacher_logits.detach() / temperature, student_logits / temperature)


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    target_weight: float = 1.0,
    others_weight: float = 8.0,
) -> Tensor:
    """T^2 * (target_weight * TCKD + others_weight * NCKD): the label and the other classes are decoupled.

    Args:
        student_logits: scores before softmax, shape ``(batch, classes)``.
        teacher_logits: same shape; no gradient flows into it.
        labels: class numbers, shape ``(batch,)``; below 0: no label, for which the teacher's own class stands.
        temperature: divides both logits; > 0.
        target_weight: of the KL between (label, all others).
        others_weight: of the KL among the other classes, renormalised.

    Returns:
        Batch mean; a scalar.

    Raises:
        ShapeError: the shapes differ or are not 2-D.

    Source: Zhao, Cui, Song, Qiu, Liang (2022), equation 7.
    """
    _check_shapes(student_logits, teacher_logits)
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    labels = torch.where(labels < 0, teacher.argmax(1), labels)
    is_label = F.one_hot(labels, student.shape[1]).bool()
    tckd = _kl(_label_against_others(teacher, is_label), _label_against_others(student, is_label))
    nckd = _kl(_others(teacher, is_label), _others(student, is_label))
    return temperature**2 * (target_weight * tckd + others_weight * nckd)


def dist_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * (inter + intra): one minus the correlation of the softened probabilities, over classes and over images.

    Args:
        student_logits: scores before softmax, shape ``(batch, classes)``; three images or more.
        teacher_logits: same shape; no gradient flows into it.
        temperature: divides both; > 0.

    Returns:
        A scalar between 0 and 4 * T^2.

    Raises:
        ShapeError: the shapes differ or are not 2-D.

    Source: Huang, You, Wang, Qian, Xu (2022), equations 6 to 9.
    """
    _check_shapes(student_logits, teacher_logits)
    student = F.softmax(student_logits / temperature, dim=1)
    teacher = F.softmax(teacher_logits.detach() / temperature, dim=1)
    return temperature**2 * (uncorrelated(student, teacher) + uncorrelated(student.T, teacher.T))


def uncorrelated(rows: Tensor, others: Tensor) -> Tensor:
    """One minus the mean Pearson correlation of the rows of two matrices of the same shape."""
    return (
        1 - F.cosine_similarity(rows - rows.mean(1, keepdim=True), others - others.mean(1, keepdim=True), dim=1).mean()
    )


def mean_logits(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Logits of which the softened distribution is the mean of several: T * log(mean of softmax(z / T)).

    The mean of logits would be another: its distribution is a geometric mean, in which one teacher's doubt counts more.

    Args:
        logits: of each teacher, shape ``(batch, classes)``.
        temperature: divides all; > 0.

    Source: Hinton, Vinyals, Dean (2015), section 1.
    """
    each = torch.stack([F.log_softmax(one / temperature, 1) for one in logits])
    return temperature * (each.logsumexp(0) - math.log(len(logits)))


def standardized(logits: Tensor) -> Tensor:
    """Each image's logits with mean 0 and (unbiased) standard deviation 1, shape ``(batch, classes)``.

    Source: Sun, Ren, Li, Wang, Cao (2024), algorithm 1.
    """
    centred = logits - logits.mean(1, keepdim=True)
    # Equal logits have a standard deviation of 0.
    return centred / (centred.std(1, keepdim=True) + 1e-7)


class Loss(Named, ABC):
    """The teacher's term, chosen by name: a distance between student and teacher with its own parameters."""

    reads_labels: ClassVar[bool] = False
    """Does it need each image's label?"""

    @abstractmethod
    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """A scalar: see the function of the same name."""


class Kd(Loss):
    """Hinton's: the divergence of the softened distributions."""

    name: Literal["kd"] = "kd"

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        return kd_loss(student, teacher, temperature)


class Dkd(Loss):
    """Decoupled: the label and the other classes have separate weights."""

    reads_labels: ClassVar[bool] = True

    name: Literal["dkd"] = "dkd"
    target_weight: float = Field(1.0, ge=0, description="weight of how sure the teacher is of the label")
    others_weight: float = Field(8.0, ge=0, description="weight of how the teacher ranks the other classes")

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        return dkd_loss(
            student,
            teacher,
            labels,
            temperature,
            target_weight=self.target_weight,
            others_weight=self.others_weight,
        )


class Dist(Loss):
    """Correlation instead of divergence, for teachers that are far larger."""

    name: Literal["dist"] = "dist"

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        return dist_loss(student, teacher, temperature)


AnyLoss = Annotated[Kd | Dkd | Dist, Field(discriminator="name"), BeforeValidator(by_name)]
"""A loss by its name, or with parameters: ``dkd``, ``{name: dkd, others_weight: 4}``."""


def _check_shapes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.dim() != 2:
        found = f"student {tuple(student_logits.shape)}, teacher {tuple(teacher_logits.shape)}"
        raise ShapeError("logits", f"must be (batch, classes) and alike, found {found}")


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of two sets of logits, mean over the batch."""
    # batchmean, not mean: torch's "mean" divides by the number of classes too, which makes the term ten times too weak
    # with ten classes.
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="batchmean", log_target=True)


def _label_against_others(logits: Tensor, is_label: Tensor) -> Tensor:
    """Logits of two events: the label, and any other class."""
    # In logits, not probabilities: if the label's probability rounds to 1, the logarithm of its complement is infinite.
    others = logits.masked_fill(is_label, float("-inf")).logsumexp(1)
    return torch.stack([logits[is_label], others], 1)


def _others(logits: Tensor, is_label: Tensor) -> Tensor:
    """Logits of the other classes alone, shape ``(batch, classes - 1)``."""
    return logits[~is_label].reshape(len(logits), -1)
