"""A model's answers class by class: what accuracy alone does not show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.training.significance import Z95, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor

UNBALANCED = 2.0
"""Ratio of the most to the least frequent class from which on accuracy alone misleads."""
NAMED = 3
"""Number of classes named in a sentence."""


@dataclass(frozen=True)
class ClassCounts:
    """Images of a split by the number of their class.

    Args:
        images: of the class.
        answered: classified as it, rightly or wrongly.
        right: of the class and classified as it.
    """

    images: Sequence[int]
    answered: Sequence[int]
    right: Sequence[int]

    @property
    def recall(self) -> list[float | None]:
        """Share of each class's images that are classified as it, 0..1; None for a class without images."""
        return [right / images if images else None for right, images in zip(self.right, self.images, strict=True)]

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur, 0..1: each counts equally, however many images it has."""
        found = [share for share in self.recall if share is not None]
        return sum(found) / len(found)

    @property
    def balanced_error(self) -> float:
        """Standard error of the balanced accuracy; each recall's is Agresti and Coull's, not 0 where all are right."""
        found = [(right + 2, images + 4) for right, images in zip(self.right, self.images, strict=True) if images]
        return math.sqrt(sum(right / all_ * (1 - right / all_) / all_ for right, all_ in found)) / len(found)

    @property
    def unanswered(self) -> list[int]:
        """Classes that occur but are never answered."""
        return [
            number
            for number, (images, answered) in enumerate(zip(self.images, self.answered, strict=True))
            if images and not answered
        ]


def count_classes(chosen: "Tensor", labels: "Tensor", classes: int) -> ClassCounts:
    """Counts of a split.

    Args:
        chosen: class numbers that a model answered, shape ``(count,)``.
        labels: class numbers, same shape.
        classes: how many there are.
    """
    every = (labels, chosen, labels[chosen == labels])
    return ClassCounts(*(part.bincount(minlength=classes).tolist() for part in every))


def unbalanced(images: Sequence[int]) -> bool:
    """Is some class at least ``UNBALANCED`` times as frequent as another?

    >>> unbalanced([20, 11, 0]), unbalanced([20, 10])
    (False, True)
    """
    found = [count for count in images if count]
    return bool(found) and max(found) >= UNBALANCED * min(found)


def shortcomings(counts: ClassCounts, names: Sequence[str], split: str, balanced: bool = False) -> list[str]:
    """What a model has not learned, each as the rest of a sentence that begins with its name.

    Args:
        counts: how it answered.
        names: of the classes.
        split: named in the sentences.
        balanced: it was trained with every class drawn equally often.

    >>> shortcomings(ClassCounts([8, 1, 1], [10, 0, 0], [8, 0, 0]), ["a", "b", "c"], "val")[1]
    'never answers 2 of the 3 classes of val: b, c'
    """
    nothing = _no_better_than_chance(counts, split) if balanced else _no_better_than_one_answer(counts, names, split)
    return [*nothing, *_never_answered(counts, names, split)]


def _no_better_than_one_answer(counts: ClassCounts, names: Sequence[str], split: str) -> list[str]:
    total, right, commonest = sum(counts.images), sum(counts.right), max(counts.images)
    # The lower bound: on a small split luck alone can beat the most frequent class.
    if wilson_interval(right, total)[0] > commonest / total:
        return []
    name = names[list(counts.images).index(commonest)]
    return [
        f"is right on {right / total:.1%} of {split}, not measurably more than a model that always answers "
        f"{name!r} ({commonest / total:.1%})"
    ]


def _no_better_than_chance(counts: ClassCounts, split: str) -> list[str]:
    chance = 1 / sum(map(bool, counts.images))
    if counts.balanced_accuracy - Z95 * counts.balanced_error > chance:
        return []
    return [
        f"has a balanced accuracy of {counts.balanced_accuracy:.1%} on {split}, not measurably more than chance "
        f"({chance:.1%})"
    ]


def _never_answered(counts: ClassCounts, names: Sequence[str], split: str) -> list[str]:
    if not counts.unanswered:
        return []
    occurring, more = sum(map(bool, counts.images)), len(counts.unanswered) - NAMED
    some = ", ".join(names[number] for number in counts.unanswered[:NAMED])
    words = f"never answers {len(counts.unanswered)} of the {occurring} classes of {split}: {some}"
    return [f"{words} and {more} more" if more > 0 else words]
