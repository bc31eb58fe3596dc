"""What the training stages share: their schedule, and the loss of a student who has a teacher."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.config import SettingError
from edgekd.data import Batch, Dataset, Mix
from edgekd.data.scan import UNKNOWN
from edgekd.stages.base import Context
from edgekd.stages.features import FeatureTerm
from edgekd.training.answers import KeptAnswers
from edgekd.training.fit import BatchLoss, LossParts, Schedule
from edgekd.training.mixup import Mixed, mixed


def schedule(stage: Any) -> Schedule:
    """The schedule that a training stage's settings describe."""
    return Schedule(stage.epochs, stage.lr, stage.batch_size, stage.weight_decay)


def taught_schedule(stage: Any) -> Schedule:
    """The same of a stage with a teacher, whose labels may be left alone with a learning rate of their own."""
    return replace(schedule(stage), second=(stage.stop_teacher_at, stage.labels_lr), views=stage.views)


def check_views(stage: Any) -> None:
    """Raise SettingError where no epoch of a stage would come again, or where its teacher's answers cannot be kept."""
    if stage.views is None:
        return
    for key in ("mixup", "features"):
        if getattr(stage, key, None):
            raise SettingError("views", f"keeps answers, and {key} needs the teacher in every step; leave one out")
    if stage.views >= stage.epochs:
        raise SettingError("views", f"must be below the epochs, {stage.epochs}, for any to come again; leave it out")


def kept_answers(stage: Any, ctx: Context, classes: int, who: str = "teacher") -> KeptAnswers | None:
    """Where a stage with ``views`` keeps its teacher's answers, beside its checkpoints; None where none come again.

    Args:
        stage: its settings.
        ctx: of the stage.
        classes: that the teacher tells apart.
        who: names the teacher among those that the stage asks.
    """
    return KeptAnswers(ctx.checkpoints.folder / f"answers-{who}", classes) if stage.views else None


def unread_without_term(keys: Iterable[str], why: str, stop_teacher_at: float) -> dict[str, str]:
    """What is not read where no teacher's term counts (``why``: empty where one does), or where it never stops.

    Args:
        keys: settings of the term.
        why: there is none.
    """
    if why:
        return dict.fromkeys(keys, why)
    return {"labels_lr": "stop_teacher_at is 1"} if stop_teacher_at == 1 else {}


def labelled_images(stage: Any) -> int:
    """How many images of a batch have labels while a teacher's term counts, where there are pictures without."""
    size = int(stage.batch_size)
    wanted: int = round(stage.labelled_share * size)
    return max(1, min(size - 1, wanted))


def mix_of(stage: Any, data: Dataset, taught: bool) -> Mix | None:
    """How a stage's batches are put together; None where every image has a label.

    Without a teacher's term (``taught`` is false), and outside its window, batches hold images with labels only; with
    ``alpha`` 0 labels are not read, and all images are drawn alike.
    """
    if data.pictures is None:
        return None
    if not taught:
        return lambda _: int(stage.batch_size)
    begin, end = window_of(stage)
    inside = labelled_images(stage) if stage.alpha else None
    return lambda at: inside if begin <= at < end else int(stage.batch_size)


def window_of(stage: Any) -> tuple[float, float]:
    """Shares of the schedule from which and up to which the teacher's term counts."""
    return getattr(stage, "start_teacher_at", 0.0), stage.stop_teacher_at


def share_with_label(stage: Any, data: Dataset) -> float:
    """Share of a batch that has labels while a teacher's term counts."""
    if data.pictures is None or not stage.alpha:
        return 1.0
    return labelled_images(stage) / float(stage.batch_size)


def labels_alone(student: Callable[[Tensor], Tensor]) -> BatchLoss:
    """Cross-entropy with the labels, as a function of a batch."""
    return lambda batch, _: LossParts(F.cross_entropy(student(batch.images), batch.labels))


class NamedTerm(NamedTuple):
    """The teacher's term.

    Args:
        name: what it is logged as.
        term: takes the student's logits, the teacher's, and the labels; gives a scalar.
    """

    name: str
    term: Callable[[Tensor, Tensor, Tensor], Tensor]


def distillation(
    student: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor],
    named: NamedTerm,
    alpha: float,
    beta: float,
    window: tuple[float, float] = (0.0, 1.0),
    *,
    mixup: bool = False,
    features: FeatureTerm | None = None,
    labelled: float = 1.0,
    kept: KeptAnswers | None = None,
) -> BatchLoss:
    """alpha * CE with the labels + beta * the teacher's term, as a function of a batch; outside the window, CE alone.

    A feature term comes on top, with its own weight.

    The teacher sees the very same images, and only while its term counts; with alpha 0 the labels are not read then.
    After an early stop the weight of the labels is 1: Cho & Hariharan (2019).

    Args:
        student: what is trained; images to logits.
        teacher: a frozen network.
        named: distance of the two answers.
        alpha: weight of the cross-entropy beside the teacher's term.
        beta: weight of the teacher's term, above 0.
        window: shares of the schedule from which and up to which the teacher's term counts.
        mixup: blend the images in pairs while the teacher's term counts; ``named`` must not read labels then.
        features: of the same student and teacher, which are called through its functions.
        labelled: share of a batch that has labels, by which the cross-entropy is their mean.
        kept: the teacher's answers to batches that come again; not together with mixup or features.
    """
    ask, answer = (features.student, features.teacher) if features else (student, teacher)
    silent = [named.name, *([features.name] if features else [])]

    def batch_loss(batch: Batch, progress: float) -> LossParts:
        teaches = window[0] <= progress < window[1]
        shown = mixed(batch) if mixup and teaches else batch
        logits = ask(shown.images)
        none = logits.new_zeros(())
        if not teaches:
            ce = F.cross_entropy(logits, shown.labels)
            return LossParts(ce, ce=ce, **dict.fromkeys(silent, none))
        ce = _cross_entropy(logits, shown, labelled) if alpha else none
        with torch.inference_mode():
            taught = answer(shown.images) if kept is None else kept.of(batch, answer)
        term = named.term(logits, taught.clone(), shown.labels)
        if features is None:
            return LossParts(alpha * ce + beta * term, ce=ce, **{named.name: term})
        inside = features.value()
        total = alpha * ce + beta * term + features.weight * inside
        return LossParts(total, ce=ce, **{named.name: term, features.name: inside})

    return batch_loss


def _cross_entropy(logits: Tensor, shown: Batch | Mixed, labelled: float) -> Tensor:
    if isinstance(shown, Mixed):
        return shown.by_labels(lambda labels: mean_cross_entropy(logits, labels, labelled))
    return mean_cross_entropy(logits, shown.labels, labelled)


def mean_cross_entropy(logits: Tensor, labels: Tensor, labelled: float) -> Tensor:
    """The mean over images that have labels.

    Args:
        logits: shape ``(batch, classes)``.
        labels: shape ``(batch,)``; ``UNKNOWN`` where an image has none.
        labelled: their share of the whole batch. Of several processes each sees a part of the batch, in which the share
            may be another: so weighted, the mean over processes is the one over the batch.
    """
    if labelled == 1:
        return F.cross_entropy(logits, labels)
    return F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum") / (labelled * len(labels))
