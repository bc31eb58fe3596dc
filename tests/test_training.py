"""The training loop: what it keeps, repeats, and refuses."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Dataset, DataSettings, Split, load_dataset
from edgekd.errors import TrainingError
from edgekd.training import (
    BatchLoss,
    Evaluation,
    LossParts,
    Recipe,
    estimate_batchnorm,
    evaluate,
    fit,
    learning_rate,
    sgd,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataSettings(image_size=8, augment=False))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def plain(model: nn.Module) -> BatchLoss:
    return lambda images, labels, _: LossParts(F.cross_entropy(model(images), labels))


def test_a_learnable_problem_is_learned_and_repeats_to_the_bit(digits: Dataset) -> None:
    models = [linear(), linear()]

    histories = [fit(m, plain(m), digits, Recipe(4, 0.05, 32, 1e-4), seed=1) for m in models]

    assert histories[0].best_accuracy > 0.9
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert evaluate(models[0], digits.val).accuracy == histories[0].best_accuracy


def test_the_best_epoch_on_val_is_kept_not_the_last(digits: Dataset) -> None:
    model = linear()

    def spoiled_later(images: Tensor, labels: Tensor, progress: float) -> LossParts:
        sign = 1 if progress < 0.5 else -1
        return LossParts(sign * F.cross_entropy(model(images), labels))

    history = fit(model, spoiled_later, digits, Recipe(6, 0.05, 32, 0.0), seed=1)

    assert 1 <= history.best_epoch <= 3
    assert history.epochs[-1].val_accuracy < history.best_accuracy
    assert evaluate(model, digits.val).accuracy == history.best_accuracy


def test_a_start_that_no_epoch_beats_is_kept(digits: Dataset) -> None:
    model = linear()
    before = [parameter.clone() for parameter in model.parameters()]

    history = fit(model, plain(model), digits, Recipe(1, 0.01, 64, 0.0), seed=1, start=Evaluation(1.0, 0.0))

    assert (history.best_epoch, history.best_accuracy) == (0, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_loss_that_is_no_number_ends_with_its_epoch_and_a_remedy(digits: Dataset) -> None:
    model = linear()

    def broken(images: Tensor, labels: Tensor, progress: float) -> LossParts:
        return LossParts(model(images).sum() * (math.nan if progress >= 0.5 else 1e-6))

    with pytest.raises(TrainingError, match=r"not a finite number in epoch 2 \(loss nan\); lower lr \(now 0.1\)"):
        fit(model, broken, digits, Recipe(2, 0.1, 64, 0.0), seed=1)


def test_weight_decay_is_for_weights_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    decayed, free = sgd(model, Recipe(1, 0.1, 2, 0.01)).param_groups

    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert [p.dim() for p in decayed["params"]] == [4]
    assert [p.dim() for p in free["params"]] == [1, 1, 1]


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.02), (0.1, 0.11), (0.2, 0.2), (0.6, 0.1), (1.0, 0.0)])
def test_the_learning_rate_rises_and_falls_as_by_hand(progress: float, expected: float) -> None:
    assert learning_rate(progress, peak=0.2, warmup=0.2) == pytest.approx(expected, abs=1e-12)


def test_evaluation_counts_right_answers_and_breaks_ties_by_loss() -> None:
    images = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    images[..., 0], images[..., 1] = 192, torch.tensor([128, 255, 128, 255]).reshape(4, 1, 1)
    split = Split(images, torch.tensor([0, 0, 0, 1]))

    found = evaluate(lambda batch: batch.flatten(1), split)

    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(127 / 64 - 1))
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx((2 * right + wrong + math.log(1 + math.exp(1 - 127 / 64))) / 4)
    assert Evaluation(0.5, 0.1).better_than(Evaluation(0.5, 0.2))
    assert not Evaluation(0.5, 0.2).better_than(Evaluation(0.5, 0.2))
    assert Evaluation(0.6, 9.0).better_than(Evaluation(0.5, 0.1))


def test_batch_norm_statistics_are_the_mean_over_the_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1))
    batches = [torch.randn(4, 1, 3, 3), 5 + 2 * torch.randn(4, 1, 3, 3)]

    estimate_batchnorm(model, batches)

    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(sum(batch.mean().item() for batch in batches) / 2, rel=1e-5)
    assert norm.running_var.item() == pytest.approx(sum(batch.var().item() for batch in batches) / 2, rel=1e-5)
    assert norm.momentum == 0.1
    assert not model.training
