"""A last layer fitted to frozen features."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgekd.config.progress import Progress
from edgekd.data import Dataset, Split
from edgekd.stages import Teacher
from edgekd.training.evaluation import evaluate
from edgekd.training.probe import _images, fit_head
from tests.tiny import tiny_dataset


def network(classes: int = 3, seed: int = 0) -> nn.Sequential:
    """Pixels as features, and a last layer that knows nothing."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def two_classes() -> Dataset:
    data = tiny_dataset()

    def binary(split: Split) -> Split:
        return replace(split, labels=(split.labels == 1).long())

    return replace(
        data,
        class_names=("other", "middle"),
        train=binary(data.train),
        val=binary(data.val),
        test=binary(data.test),
    )


def test_a_separable_problem_is_solved_and_what_is_told_is_what_val_says() -> None:
    model, data = network(), tiny_dataset()

    found = fit_head(model, "1", data, Progress())

    assert found is not None
    assert found.accuracy == 1.0
    again = evaluate(model, data.val)
    assert (found.accuracy, found.loss) == pytest.approx((again.accuracy, again.loss), rel=1e-5)
    assert evaluate(model, data.test).accuracy == 1.0
    assert not model.training


def test_two_classes_have_a_row_each() -> None:
    model, data = network(classes=2), two_classes()

    found = fit_head(model, "1", data, Progress())

    assert found is not None
    assert found.accuracy == evaluate(model, data.val).accuracy == 1.0


def test_the_rest_of_the_network_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    fit_head(model, "3", tiny_dataset(), Progress())

    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}


def test_a_last_layer_that_reads_no_vectors_is_left_alone() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.head(images[:, 0]).mean(1)
            return answer

    model = Late()
    before = model.head.weight.clone()

    assert fit_head(model, "head", tiny_dataset(), Progress()) is None
    assert fit_head(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), "0", tiny_dataset(), Progress()) is None
    assert torch.equal(model.head.weight, before)


def test_many_images_are_thinned_out_but_never_below_some_of_each_class() -> None:
    assert _images(300, 1280, 5) == 300
    assert _images(10**6, 1280, 5) == 20_000
    assert _images(10**6, 2048, 1000) == 20_000
    assert _images(10**6, 2048, 500) == 10_000


def test_given_weights_are_trained_at_a_rate_of_their_own() -> None:
    given = {"model": "resnet8", "weights": "w.pt", "normalization": "edgekd"}

    rates = [Teacher.model_validate(tree).lr for tree in ({"model": "resnet8"}, given, {**given, "lr": 0.05})]

    assert rates == [0.1, 0.005, 0.05]
    assert "lr" not in Teacher.model_validate({**given, "epochs": 0}).model_fields_set
