"""What accuracy alone does not say."""

import pytest
import torch

from edgekd.training.classes import ClassCounts, count_classes, shortcomings

NAMES = ("a", "b", "c", "d", "e", "f")


def counts(labels: list[int], chosen: list[int], classes: int = 3) -> ClassCounts:
    return count_classes(torch.tensor(chosen), torch.tensor(labels), classes)


def test_every_class_is_counted_and_one_without_images_has_no_recall() -> None:
    found = counts([0, 0, 0, 1], [0, 0, 2, 0])

    assert (found.images, found.answered, found.right) == ([3, 1, 0], [3, 0, 1], [2, 0, 0])
    assert found.recall == [pytest.approx(2 / 3), 0.0, None]
    assert found.balanced_accuracy == pytest.approx(1 / 3)
    assert found.unanswered == [1]


def test_balanced_accuracy_is_accuracy_where_classes_are_alike() -> None:
    assert counts([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0]).balanced_accuracy == pytest.approx(4 / 6)


def test_a_model_that_always_answers_the_commonest_class_is_told() -> None:
    labels = [0] * 79 + [1] * 11 + [2] * 10

    assert shortcomings(counts(labels, [0] * 100), NAMES, "val") == [
        "is right on 79.0% of val, not measurably more than a model that always answers 'a' (79.0%)",
        "never answers 2 of the 3 classes of val: b, c",
    ]


def test_chance_is_no_knowledge_and_better_than_chance_is() -> None:
    labels = [number % 3 for number in range(99)]
    rolled, learned = [labels[0], *labels[:-1]], labels[:50] + [0] * 49

    assert shortcomings(counts(labels, labels), NAMES, "val") == []
    assert shortcomings(counts(labels, learned), NAMES, "val") == []
    assert "not measurably more" in shortcomings(counts(labels, rolled[:66] + labels[66:]), NAMES, "val")[0]


def test_where_every_class_counts_alike_knowledge_of_the_rare_ones_is_no_shortcoming() -> None:
    labels = [0] * 80 + [1] * 10 + [2] * 10
    fair, one = counts(labels, [0] * 50 + [1] * 35 + [2] * 15), counts(labels, [0] * 100)

    assert "not measurably more" in shortcomings(fair, NAMES, "val")[0]
    assert shortcomings(fair, NAMES, "val", balanced=True) == []
    assert shortcomings(one, NAMES, "val", balanced=True)[0] == (
        "has a balanced accuracy of 33.3% on val, not measurably more than chance (33.3%)"
    )


def test_of_many_classes_that_are_never_answered_some_are_named() -> None:
    labels = [number % 6 for number in range(60)]
    never = shortcomings(counts(labels, [min(label, 1) for label in labels], 6), NAMES, "test")[-1]

    assert never == "never answers 4 of the 6 classes of test: c, d, e and 1 more"
