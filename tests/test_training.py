"""The training loop: what it keeps, repeats, and refuses."""

import itertools
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config.progress import Progress
from edgekd.data import Batch, Dataset, Digits, Split, as_input, load_dataset
from edgekd.errors import TrainingError
from edgekd.training.checkpoint import Checkpoints
from edgekd.training.classes import ClassCounts
from edgekd.training.evaluation import Evaluation, estimate_batchnorm, evaluate
from edgekd.training.fit import BatchLoss, LossParts, Schedule, fit, learning_rate, sgd
from edgekd.training.history import History
from edgekd.training.parallel import ALONE, Processes
from tests.tiny import tiny_convnet, tiny_dataset, uneven_dataset


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(Digits(image_size=8, augment="none"))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def plain(model: nn.Module) -> BatchLoss:
    return lambda batch, _: LossParts(F.cross_entropy(model(batch.images), batch.labels))


def test_a_learnable_problem_is_learned_and_repeats_to_the_bit(digits: Dataset) -> None:
    models = [linear(), linear()]

    histories = [fit(m, plain(m), digits, Schedule(4, 0.05, 32, 1e-4), seed=1) for m in models]

    assert histories[0].best_accuracy > 0.9
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert evaluate(models[0], digits.val).accuracy == histories[0].best_accuracy


def test_a_tiny_convolutional_network_learns_and_another_seed_trains_it_otherwise() -> None:
    data, models = tiny_dataset(), [tiny_convnet(8), tiny_convnet(8)]

    found = [fit(m, plain(m), data, Schedule(4, 0.1, 8, 0.0), seed=s) for s, m in enumerate(models)]

    assert all(history.best_accuracy == 1.0 for history in found)
    assert evaluate(models[0], data.test).accuracy == 1.0
    weights = [model.state_dict()["0.weight"] for model in models]
    assert not torch.equal(*weights)


def test_the_loop_steps_by_the_schedule_in_training_mode_and_logs_the_mean_of_every_part() -> None:
    """Six steps: two epochs of three batches of sixteen."""
    model, steps, modes, begins = tiny_convnet(), list[float](), list[bool](), list[float]()

    def counted(batch: Batch, progress: float) -> LossParts:
        steps.append(progress)
        modes.append(model.training)
        return LossParts(F.cross_entropy(model(batch.images), batch.labels), step=torch.tensor(float(len(steps))))

    schedule = Schedule(2, 0.1, 16, 0.0, warmup=0.5)
    history = fit(model, counted, tiny_dataset(), schedule, seed=0, before_epoch=begins.append)

    assert steps == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert begins == [0, 0.5]
    assert all(modes)
    assert not model.training
    assert [log.losses["step"] for log in history.epochs] == [2, 5]
    assert [log.lr for log in history.epochs] == pytest.approx([0.1 * (0.1 + 0.9 * 2 / 3), 0.1 * 0.25])
    assert [log.epoch for log in history.epochs] == [1, 2]


def test_a_loss_is_logged_without_its_graph() -> None:
    total = torch.tensor(2.0, requires_grad=True) * 3

    parts = LossParts(total, ce=total / 2).parts

    assert {name: value.item() for name, value in parts.items()} == {"loss": 6.0, "ce": 3.0}
    assert not any(value.requires_grad for value in parts.values())


def test_the_best_epoch_on_val_is_kept_not_the_last(digits: Dataset) -> None:
    model = linear()

    def spoiled_later(batch: Batch, progress: float) -> LossParts:
        sign = 1 if progress < 0.5 else -1
        return LossParts(sign * F.cross_entropy(model(batch.images), batch.labels))

    history = fit(model, spoiled_later, digits, Schedule(6, 0.05, 32, 0.0), seed=1)

    assert 1 <= history.best_epoch <= 3
    assert history.epochs[-1].val_accuracy < history.best_accuracy
    assert evaluate(model, digits.val).accuracy == history.best_accuracy


def test_a_start_that_no_epoch_beats_is_kept(digits: Dataset) -> None:
    model = linear()
    before = [parameter.clone() for parameter in model.parameters()]

    history = fit(model, plain(model), digits, Schedule(1, 0.01, 64, 0.0), seed=1, start=Evaluation(1.0, 0.0))

    assert (history.best_epoch, history.best_accuracy) == (0, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bad_step", [1, 5, 16, 17])
def test_a_loss_that_is_no_finite_number_ends_with_its_epoch_its_step_and_remedies(
    digits: Dataset, value: float, bad_step: int
) -> None:
    """17 steps of 64 images; looked at in steps 1 and 17."""
    model, steps = linear(), itertools.count(1)

    def broken(batch: Batch, _progress: float) -> LossParts:
        ce = F.cross_entropy(model(batch.images), batch.labels)
        return LossParts(ce * value if next(steps) == 17 + bad_step else ce, ce=ce)

    with pytest.raises(TrainingError) as caught:
        fit(model, broken, digits, Schedule(2, 0.1, 64, 0.0), seed=1)

    told = re.fullmatch(
        r"train: the loss is not a finite number in epoch 2, step (\d+) of 17 \(loss (nan|-?inf).*\); "
        r"lower lr \(now 0.1\), raise batch_size, .*; epoch 1 and those before are kept",
        str(caught.value),
    )
    assert told is not None, caught.value
    assert int(told[1]) == bad_step


def test_a_training_that_broke_goes_on_from_its_last_good_epoch(digits: Dataset, tmp_path: Path) -> None:
    class Elsewhere(Processes):
        def record(self) -> dict[str, str]:
            return {"gpu": "another machine's"}

    def trained(breaks_at: float, processes: Processes) -> tuple[nn.Module, list[str], History]:
        model, told = linear(), Told()

        def loss(batch: Batch, progress: float) -> LossParts:
            ce = F.cross_entropy(model(batch.images), batch.labels)
            return LossParts(ce * math.inf if progress >= breaks_at else ce)

        saved = Checkpoints(tmp_path / "saved")
        schedule = Schedule(3, 0.1, 64, 0.0)
        history = fit(model, loss, digits, schedule, seed=1, progress=told, checkpoints=saved, processes=processes)
        return model, told.notes, history

    with pytest.raises(TrainingError, match="epoch 3, step 3 of"):
        trained(0.7, Elsewhere())
    broken = Checkpoints(tmp_path / "saved").latest()
    model, notes, history = trained(2.0, ALONE)

    assert broken is not None
    assert len(broken.facts["logs"]) == 2
    assert all(value.isfinite().all() for value in broken.tensors.values() if value.is_floating_point())
    assert notes[-1] == "train: going on after epoch 2 of 3"
    assert history.made_by == {**ALONE.record(), "gpu": "another machine's"}
    assert history.earlier_seconds >= sum(log.seconds for log in history.epochs[:2]) > 0
    assert evaluate(model, digits.val).accuracy > 0.8


def test_a_gpu_without_memory_for_a_batch_is_one_line(digits: Dataset) -> None:
    model = linear()

    def too_large(batch: Batch, progress: float) -> LossParts:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB")

    with pytest.raises(TrainingError) as caught:
        fit(model, too_large, digits, Schedule(1, 0.1, 64, 0.0), seed=1)

    assert str(caught.value) == (
        "train: the GPU has no memory for a step of 64 images; lower batch_size, "
        "or set CUDA_VISIBLE_DEVICES= to train on the CPU"
    )


class Told(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_weight_decay_is_for_weights_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    decayed, free = sgd(model, Schedule(1, 0.1, 2, 0.01)).param_groups

    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert [p.dim() for p in decayed["params"]] == [4]
    assert [p.dim() for p in free["params"]] == [1, 1, 1]


def test_weights_shrink_without_a_gradient_and_norms_and_biases_do_not() -> None:
    """Nesterov's first step along decay * w: (1 + momentum) times the learning rate."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    sgd(model, Schedule(1, 0.1, 2, 0.01, momentum=0.9)).step()

    after = dict(model.named_parameters())
    by_hand = before["0.weight"] * (1 - 0.1 * 0.01 * 1.9)
    torch.testing.assert_close(after["0.weight"].detach(), by_hand, rtol=1e-6, atol=0)  # float32 rounds to 1e-7
    assert all(torch.equal(after[name], before[name]) for name in ("0.bias", "1.weight", "1.bias"))


def test_what_is_frozen_is_not_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))

    found = [p for group in sgd(model, Schedule(1, 0.1, 2, 0.0)).param_groups for p in group["params"]]

    assert {id(p) for p in found} == {id(p) for p in model[1].parameters()}


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.02), (0.1, 0.11), (0.2, 0.2), (0.6, 0.1), (1.0, 0.0)])
def test_the_learning_rate_rises_and_falls_as_by_hand(progress: float, expected: float) -> None:
    assert learning_rate(progress, peak=0.2, warmup=0.2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("progress", "share"), [(0.6, 0.3), (0.7, 0.3 * 0.8535534), (0.8, 0.15), (1.0, 0.0)])
def test_a_second_cosine_begins_where_it_is_told_and_falls_to_zero(progress: float, share: float) -> None:
    assert learning_rate(progress, 0.2, 0.2, (0.6, 0.3)) == pytest.approx(0.2 * share, abs=1e-8)
    assert learning_rate(0.59, 0.2, 0.2, (0.6, 0.3)) == learning_rate(0.59, 0.2, 0.2)


def test_without_a_warm_up_the_learning_rate_begins_at_its_peak() -> None:
    assert [learning_rate(at, 0.2, 0.0) for at in (0.0, 0.5)] == pytest.approx([0.2, 0.1])


def test_the_learning_rate_is_highest_where_the_warm_up_ends_and_never_jumps() -> None:
    rates = [learning_rate(at / 1000, 1.0, 0.3) for at in range(1001)]

    assert rates.index(max(rates)) == 300
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.9 / 300 + 1e-9  # the slope of the warm-up, the steepest
    assert min(rates) == pytest.approx(0.0, abs=1e-12)


def test_more_images_than_one_batch_are_all_asked_about() -> None:
    """257 images: one more than a batch; the last alone is answered wrongly."""
    split = Split(torch.zeros(257, 1, 1, 2, dtype=torch.uint8), torch.zeros(257).long())
    split.images[:][..., 0], split.labels[-1] = 192, 1

    found = evaluate(lambda batch: batch.flatten(1), split)

    right, wrong = math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))
    assert found.accuracy == 256 / 257
    assert found.loss == pytest.approx((256 * right + wrong) / 257, rel=1e-5)


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
    assert not Evaluation(0.5, 0.1).better_than(Evaluation(0.6, 9.0))
    assert Evaluation(0.0, 9.0).better_than(None)


def grey(count: int, seed: int = 0) -> Split:
    """Noise of 2x2 pixels, brighter from image to image."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (count, 2, 2, 1), dtype=torch.uint8, generator=generator)
    return Split(images + torch.linspace(0, 150, count).to(torch.uint8).reshape(-1, 1, 1, 1), torch.zeros(count).long())


def statistics(norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@pytest.mark.parametrize("count", [20, 128, 129, 200])
def test_batch_norm_statistics_are_the_mean_over_equal_batches(count: int) -> None:
    """Of 129 images one would be left for a batch of its own, which would weigh as much as another, or crash."""
    model, split = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1, momentum=0.25)), grey(count)
    model(torch.full((4, 1, 2, 2), 100.0))  # statistics that must be forgotten
    size = count // max(1, count // 64)
    used = torch.linspace(0, count - 1, count // size * size).round().long()
    pixels, number = as_input(split.images[used]).mean((2, 3)), count // size
    batches = [pixels[part::number] for part in range(number)]

    estimate_batchnorm(model, split, images=1024)

    mean, variance = statistics(model[1])
    torch.testing.assert_close(mean[0], torch.stack([batch.mean() for batch in batches]).mean())
    torch.testing.assert_close(variance[0], torch.stack([batch.var() for batch in batches]).mean())
    assert isinstance(model[1], nn.BatchNorm2d)
    assert model[1].momentum == 0.25
    assert not model.training
    assert not model[1].training


def test_batch_norms_see_what_parts_the_classes_of_a_split_that_is_sorted_by_class() -> None:
    labels = torch.arange(4).repeat_interleave(64)
    images = (60 * labels).to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 2, 2, 1)
    model = nn.Sequential(nn.BatchNorm2d(1))

    estimate_batchnorm(model, Split(images, labels), images=256)

    variance = statistics(model[0])[1]
    assert float(variance) == pytest.approx(float(as_input(images).var()), rel=0.01)  # batches of 64, not 256


def test_nothing_but_batch_norms_trains_while_their_statistics_are_estimated() -> None:
    plain, dropping = nn.Sequential(nn.BatchNorm2d(1)), nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))

    for model in (plain, dropping):
        estimate_batchnorm(model, grey(100), images=100)

    torch.testing.assert_close(statistics(dropping[1]), statistics(plain[0]))


def test_weights_that_break_in_the_last_step_are_noticed(digits: Dataset) -> None:
    model = linear()

    def breaks_weights(batch: Batch, progress: float) -> LossParts:
        loss = model(batch.images).sum() * 0.0
        return LossParts(loss + loss.sqrt())  # finite, with a gradient of nan

    with pytest.raises(TrainingError, match="val_loss nan"):
        fit(model, breaks_weights, digits, Schedule(1, 0.1, 2000, 0.0), seed=1)


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def uneven_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


UNEVEN = uneven_dataset([200, *[6] * 9], [40, *[4] * 9])
SHORT = Schedule(5, 0.05, 32, 5e-4)


def test_classes_that_are_never_answered_are_told_and_balance_cures_it() -> None:
    """200 images of one class and 6 of each of nine others."""
    found: dict[bool, tuple[Evaluation, Notes]] = {}

    for balance in (False, True):
        model, notes, data = uneven_network(), Notes(), replace(UNEVEN, balance=balance)
        fit(model, plain(model), data, SHORT, seed=0, progress=notes, label="teacher")
        found[balance] = evaluate(model, data.test), notes

    (plainly, told), (evenly, nothing) = found[False], found[True]
    assert plainly.classes is not None
    assert evenly.classes is not None
    assert plainly.classes.unanswered == list(range(1, 10))
    assert plainly.classes.balanced_accuracy == pytest.approx(0.1)
    assert evenly.classes.unanswered == []
    assert evenly.classes.balanced_accuracy > 0.7
    assert told.said == [
        "warning: teacher is right on 52.6% of val, not measurably more than a model that always answers 'class 0' "
        "(52.6%)",
        "warning: teacher never answers 9 of the 10 classes of val: class 1, class 2, class 3 and 6 more; "
        "data.balance: true has every class drawn equally often",
    ]
    assert nothing.said == []


def test_where_classes_are_balanced_the_epoch_is_kept_in_which_each_counts_alike() -> None:
    common, fair = ClassCounts([8, 2], [10, 0], [8, 0]), ClassCounts([8, 2], [5, 5], [5, 2])
    one, other = Evaluation(0.8, 0.5, common), Evaluation(0.7, 0.9, fair)

    assert one.better_than(other)
    assert other.better_than(one, balanced=True)


def test_what_the_best_epoch_answered_outlives_an_interruption(tmp_path: Path) -> None:
    data, checkpoints = replace(UNEVEN, balance=True), Checkpoints(tmp_path / "partial")
    whole, stopped, resumed = uneven_network(), uneven_network(), uneven_network()

    wanted = fit(whole, plain(whole), data, SHORT, seed=0)
    fit(stopped, plain(stopped), data, SHORT, seed=0, checkpoints=checkpoints)
    found = fit(resumed, plain(resumed), data, SHORT, seed=0, checkpoints=checkpoints)

    assert found.classes == wanted.classes
    assert found.best_epoch == wanted.best_epoch
