"""fit(), the only training loop."""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from edgekd.config.progress import Progress
from edgekd.data import (
    Batch,
    Batches,
    Counts,
    Dataset,
    Mix,
    View,
    batches_per_epoch,
    repeated_batches,
    shared_batches,
    train_batches,
)
from edgekd.errors import TrainingError
from edgekd.training.checkpoint import Checkpoints
from edgekd.training.evaluation import Evaluation, evaluate, not_learned
from edgekd.training.history import EpochLog, History, RunningHistory, checkpoint, copy_state, resume
from edgekd.training.parallel import ALONE, Processes
from edgekd.training.placing import to_cpu, to_device
from edgekd.training.safe_backward import trained_safely

STEPS_BETWEEN_LOOKS = 16
"""Steps between two checks of the losses: each check waits for the device."""


class LossParts:
    """A batch's loss and the named parts it is made of.

    Args:
        total: minimised; a scalar with a gradient.
        parts: scalars for the log.
    """

    def __init__(self, total: Tensor, **parts: Tensor) -> None:
        self.total = total
        self.parts = {"loss": total.detach(), **{name: value.detach() for name, value in parts.items()}}


BatchLoss = Callable[[Batch, float], LossParts]
"""Takes a batch and the progress (0..1) of the schedule."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum, warm-up, a cosine to zero, and optionally a second cosine.

    Args:
        epochs: passes over the training split.
        lr: peak learning rate.
        batch_size: images a step.
        weight_decay: on weights only, not on norms and biases.
        warmup: share of the schedule (0..1) in which the learning rate rises to its peak.
        momentum: Nesterov's.
        second: start of the second cosine, as shares of the schedule and of the peak learning rate.
        views: epochs that differ; after so many the same batches come again, in another order. None: all differ.
    """

    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    warmup: float = 0.2
    momentum: float = 0.9
    second: tuple[float, float] = (1.0, 0.0)
    views: int | None = None


def fit(
    model: nn.Module,
    batch_loss: BatchLoss,
    data: Dataset,
    schedule: Schedule,
    *,
    seed: int,
    progress: Progress | None = None,
    label: str = "train",
    before_epoch: Callable[[float], None] = lambda _: None,
    start: Evaluation | None = None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
    after_averaging: Callable[[], None] = lambda: None,
    keep: Collection[int] = (),
    mix: Mix | None = None,
) -> History:
    """Train ``model`` in place and leave it with its best weights on ``val``.

    Args:
        model: the network to train.
        batch_loss: the loss of one batch; must not switch the mode of ``model``.
        data: trained on its train split; its val split chooses the epoch.
        schedule: epochs, learning rate and the rest.
        seed: of the order of the images and their augmentation.
        progress: informed about every step and epoch.
        label: name of this training in progress and errors.
        before_epoch: called with the progress (0..1) of the schedule before each epoch.
        start: the untrained model's result on val; if given, an epoch must beat it to be kept.
        checkpoints: written after every epoch; if there are any, the training resumes from the last.
        processes: that share every batch; all end with the same weights and history.
        after_averaging: called after the buffers of ``model`` were averaged over several processes.
        keep: epochs, from 1, whose weights the history keeps beside the best ones.
        mix: how batches are put together of images with and without labels; an epoch is as many images as there are of
            both. None: images with labels only.

    During training batches and ``model`` are on ``processes.device``; everything else that ``batch_loss`` calls must be
    there too.

    Raises:
        TrainingError: a loss is not finite (earlier checkpoints stay), a batch is too small for the processes, or the
            GPU's memory too small for the batch.
    """
    progress = progress or Progress()
    images = schedule.batch_size if mix else min(schedule.batch_size, len(data.train))
    steps = batches_per_epoch(data, schedule.batch_size, mixed=mix is not None)
    processes.check_batch(images, label)
    if processes.place_in_words:
        progress.note(f"{label}: {processes.place_in_words}")
    to_device(model, processes.device)
    optimizer, generator = sgd(model, schedule), torch.Generator().manual_seed(seed)
    running = RunningHistory(processes.of_first(start), copy_state(model), processes.record(), balanced=data.balance)
    # Only the first process reads checkpoints: the others' stores are scratch folders.
    if checkpoints is not None and (saved := processes.by_first(checkpoints.latest)) is not None:
        running = resume(saved, model, optimizer, generator, running.made_by, data.balance)
        progress.note(f"{label}: going on after epoch {len(running.logs)} of {schedule.epochs}")
    shared_loss = _shared(batch_loss, model, images, processes)
    for epoch in range(len(running.logs), schedule.epochs):
        before_epoch(epoch / schedule.epochs)
        model.train()
        started = time.monotonic()
        view = None if schedule.views is None else View(epoch % schedule.views, seed)
        counts = None if mix is None else [mix(_at(epoch, step, steps, schedule)) for step in range(steps)]
        # Closed where a step fails: the thread that reads ahead ends here.
        with (
            contextlib.closing(_batches(data, schedule, generator, processes, view, counts)) as batches_of_epoch,
            trained_safely(model),
            _gpu_memory_errors(label, schedule.batch_size),
        ):
            losses = _one_epoch(shared_loss, batches_of_epoch, steps, schedule, optimizer, epoch, progress, label)
        losses = processes.mean(losses)
        processes.average_statistics(model, after_averaging)
        model.eval()
        # All processes evaluate, but the first one's figures count: where sums are rounded differently, processes must
        # not disagree on the best epoch.
        found = processes.of_first(evaluate(model, data.val, processes.device))
        # Before the checkpoint is written: a run must never resume from broken weights.
        _check_finite({**losses, "val_loss": found.loss}, label, epoch + 1, schedule.lr)
        lr = float(optimizer.param_groups[0]["lr"])
        log = EpochLog(epoch + 1, losses, found.accuracy, found.loss, lr, time.monotonic() - started)
        running.add(log, found, model, keep=epoch + 1 in keep)
        if checkpoints is not None and processes.first:
            checkpoints.save(epoch + 1, checkpoint(running, model, optimizer, generator))
        progress.epoch(label, epoch + 1, schedule.epochs, {**losses, **_reached(found, data.balance)})
    model.load_state_dict(running.best_state)
    to_cpu(model, processes.device).eval()
    history = running.history()
    for told in not_learned(history.classes, data) if history.classes else []:
        progress.note(f"warning: {label} {told}")
    return history


def _reached(found: Evaluation, balanced: bool) -> dict[str, float]:
    """The figures reported for an epoch; the one that decides comes last."""
    decides = {"val_balanced_accuracy": found.classes.balanced_accuracy} if balanced and found.classes else {}
    return {"val_accuracy": found.accuracy, **decides}


def _shared(batch_loss: BatchLoss, model: nn.Module, images: int, processes: Processes) -> BatchLoss:
    """The loss of one process's share of a batch of ``images``; its mean over processes is the batch's loss."""
    if processes.size == 1:
        return batch_loss

    def weighted(part: Batch, progress: float) -> dict[str, Tensor]:
        # DDP averages over processes, whose shares may differ by one image; the weight turns that into the mean over
        # images.
        found, weight = batch_loss(part, progress), len(part.labels) * processes.size / images
        return {"total": weight * found.total, **{name: weight * value for name, value in found.parts.items()}}

    averaging = processes.averaging(model, weighted)

    def shared(part: Batch, progress: float) -> LossParts:
        found = averaging(part, progress)
        return LossParts(found.pop("total"), **found)

    return shared


def _at(epoch: int, step: int, steps: int, schedule: Schedule) -> float:
    """Progress (0..1) of the schedule before a step."""
    return (epoch * steps + step) / (schedule.epochs * steps)


def _batches(
    data: Dataset,
    schedule: Schedule,
    generator: Generator,
    processes: Processes,
    view: View | None,
    mix: Counts | None,
) -> Batches:
    size, share, device = schedule.batch_size, (processes.rank, processes.size), processes.device
    if view is not None:
        return repeated_batches(data, size, generator, view, share, device, mix)
    if processes.size == 1:
        return train_batches(data, size, generator, device, mix)
    return shared_batches(data, size, generator, *share, device, mix)


@contextlib.contextmanager
def _gpu_memory_errors(label: str, batch_size: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        problem = f"the GPU has no memory for a step of {batch_size} images"
        remedy = "lower batch_size, or set CUDA_VISIBLE_DEVICES= to train on the CPU"
        raise TrainingError(label, problem, remedy) from None


def _one_epoch(
    batch_loss: BatchLoss,
    batches_of_epoch: Iterator[Batch],
    steps: int,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    progress: Progress,
    label: str,
) -> dict[str, float]:
    """Train one epoch and return the mean losses by part; losses are read back only every few steps.

    Raises:
        TrainingError: the loss of a step is not a finite number.
    """
    sums: dict[str, Tensor] = {}
    finite: Tensor | int = 0
    for step, batch in enumerate(batches_of_epoch):
        at = _at(epoch, step, steps, schedule)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(at, schedule.lr, schedule.warmup, schedule.second)
        loss = batch_loss(batch, at)
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums = {name: sums.get(name, 0) + value for name, value in loss.parts.items()}
        # Counts the steps before the first non-finite loss, on the device: reading every loss would make each step
        # wait.
        finite = finite + ((finite == step) & torch.isfinite(loss.parts["loss"]))
        if step % STEPS_BETWEEN_LOOKS == 0 or step + 1 == steps:
            _check_steps(int(finite), step + 1, steps, sums, label, epoch + 1, schedule.lr)
        progress.work(label, epoch * steps + step + 1, schedule.epochs * steps)
    return {name: float(value) / steps for name, value in sums.items()}


def _check_steps(
    finite: int, done: int, steps: int, sums: dict[str, Tensor], label: str, epoch: int, lr: float
) -> None:
    """Raise TrainingError with the first step whose loss is not finite, and the parts of the loss that are not."""
    if finite < done:
        bad = {name: float(value) for name, value in sums.items() if not math.isfinite(float(value))}
        raise _not_finite(bad, label, f"epoch {epoch}, step {finite + 1} of {steps}", epoch, lr)


def _check_finite(losses: dict[str, float], label: str, epoch: int, lr: float) -> None:
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    if bad:
        raise _not_finite(bad, label, f"epoch {epoch}", epoch, lr)


def _not_finite(bad: dict[str, float], label: str, place: str, epoch: int, lr: float) -> TrainingError:
    found = ", ".join(f"{name} {value}" for name, value in bad.items())
    kept = f"; epoch {epoch - 1} and those before are kept" if epoch > 1 else ""
    return TrainingError(
        label,
        f"the loss is not a finite number in {place} ({found})",
        f"lower lr (now {lr}), raise batch_size, or set precision: float32 where it is bf16; "
        f"look for images or weights that are odd{kept}",
    )


def learning_rate(progress: float, peak: float, warmup: float, second: tuple[float, float] = (1.0, 0.0)) -> float:
    """Rises linearly from a tenth of the peak, then falls along half a cosine to zero.

    A second cosine cuts off the first and falls to zero over the rest of the schedule.

    Args:
        progress: 0..1 of the schedule.
        peak: highest learning rate.
        warmup: share of the schedule in which it rises.
        second: share of the schedule at which the second cosine begins, and of the peak that it begins with.
    """
    begins, share = second
    if progress >= begins:
        # Without a second cosine ``begins`` is 1, and progress 1 would divide by zero.
        return peak * share * _half_cosine((progress - begins) / (1 - begins)) if begins < 1 else 0.0
    if progress < warmup:
        return peak * (0.1 + 0.9 * progress / warmup)
    return peak * _half_cosine((progress - warmup) / (1 - warmup))


def _half_cosine(progress: float) -> float:
    """Falls from 1 to 0 while ``progress`` goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def sgd(model: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay only on tensors of two dimensions and more (no norms, no biases)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum, nesterov=True)
