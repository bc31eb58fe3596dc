"""The history of a training: its epochs, its best weights, and resuming from a checkpoint."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from edgekd.training.checkpoint import (
    Checkpoint,
    momenta,
    random_states,
    restore_momenta,
    restore_random_states,
)
from edgekd.training.classes import ClassCounts
from edgekd.training.evaluation import Evaluation


@dataclass(frozen=True)
class EpochLog:
    """One pass over the training split: mean losses by part, validation accuracy (0..1) and cross-entropy (nats)."""

    epoch: int
    losses: dict[str, float]
    val_accuracy: float
    val_loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class History:
    """How a training went.

    Args:
        epochs: all epochs.
        best_epoch: number of the best epoch, from 1; 0: the state before training.
        best_accuracy: on val, 0..1.
        earlier_seconds: time spent by interrupted runs of this training.
        made_by: for the record: GPU, number of processes.
        classes: the best epoch's counts per class of val, if they were taken.
        kept: epoch -> the network's tensors after it, where it was to be kept.
    """

    epochs: list[EpochLog]
    best_epoch: int
    best_accuracy: float
    earlier_seconds: float
    made_by: dict[str, str]
    classes: ClassCounts | None = None
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)


class RunningHistory:
    """The history of a training in progress, and the best weights on val.

    Args:
        best: the network's result on val before training, if it counts.
        best_state: its tensors before training.
        made_by: for the record: GPU, number of processes.
        earlier_seconds: time spent by interrupted runs.
        balanced: compare epochs by balanced accuracy.
    """

    def __init__(
        self,
        best: Evaluation | None,
        best_state: dict[str, Tensor],
        made_by: dict[str, str],
        earlier_seconds: float = 0.0,
        balanced: bool = False,
    ) -> None:
        self.best, self.best_epoch, self.best_state = best, 0, best_state
        self.made_by, self.earlier_seconds, self._began = made_by, earlier_seconds, time.monotonic()
        self.logs: list[EpochLog] = []
        self.kept: dict[int, dict[str, Tensor]] = {}
        self._balanced = balanced

    @property
    def seconds(self) -> float:
        """Time spent so far, including interrupted runs."""
        return self.earlier_seconds + time.monotonic() - self._began

    def history(self) -> History:
        """The history as a frozen record."""
        accuracy, classes = (self.best.accuracy, self.best.classes) if self.best else (0.0, None)
        return History(self.logs, self.best_epoch, accuracy, self.earlier_seconds, self.made_by, classes, self.kept)

    def add(self, log: EpochLog, found: Evaluation, model: nn.Module, keep: bool = False) -> None:
        """Add an epoch and its result on val; the model's weights are copied if they are the best so far, or kept."""
        self.logs.append(log)
        if keep:
            self.kept[log.epoch] = copy_state(model)
        if found.better_than(self.best, self._balanced):
            self.best, self.best_epoch, self.best_state = found, log.epoch, copy_state(model)


def checkpoint(
    running: RunningHistory, model: nn.Module, optimizer: torch.optim.Optimizer, generator: Generator
) -> Checkpoint:
    """Everything that ``resume`` needs."""
    of_torch, others = random_states()
    parts = {
        "model": model.state_dict(),
        "best": running.best_state,
        "momentum": momenta(model, optimizer),
        "random": {**of_torch, "order": generator.get_state()},
        **{f"kept-{epoch}": state for epoch, state in running.kept.items()},
    }
    tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
    facts = {
        "logs": [asdict(log) for log in running.logs],
        "best": asdict(running.best) if running.best else None,
        "best_epoch": running.best_epoch,
        "kept": [*running.kept],
        "random": others,
        "seconds": running.seconds,
        "made_by": running.made_by,
    }
    return Checkpoint(tensors, facts)


def resume(
    saved: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: Generator,
    made_by: dict[str, str],
    balanced: bool = False,
) -> RunningHistory:
    """Restore the state after the saved epoch."""
    model.load_state_dict(saved.part("model"))
    restore_momenta(model, optimizer, saved.part("momentum"))
    states = saved.part("random")
    generator.set_state(states["order"])
    restore_random_states(states, saved.facts["random"])
    best = saved.facts["best"]
    # A training that began on a GPU or in several processes keeps that in its record.
    made_by = {**made_by, **saved.facts["made_by"]}
    running = RunningHistory(
        _evaluation(best) if best else None, saved.part("best"), made_by, saved.facts["seconds"], balanced
    )
    running.best_epoch = saved.facts["best_epoch"]
    running.logs = [EpochLog(**log) for log in saved.facts["logs"]]
    # Checkpoints of an older edgekd have none.
    running.kept = {epoch: saved.part(f"kept-{epoch}") for epoch in saved.facts.get("kept", [])}
    return running


def _evaluation(saved: dict[str, Any]) -> Evaluation:
    classes = saved.get("classes")
    return Evaluation(saved["accuracy"], saved["loss"], ClassCounts(**classes) if classes else None)


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's tensors."""
    # state_dict returns the live tensors, which the next step changes.
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
