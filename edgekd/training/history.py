"""How a training went up to now: its epochs, its best weights, and how it goes on from a checkpoint."""

import time
from dataclasses import asdict, dataclass
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
        epochs: every one of them.
        best_epoch: the best one's number, from 1; 0: the state before training.
        best_accuracy: on val, 0..1.
        earlier_seconds: what those spent that were stopped and went on here.
        made_by: what to record of all processes that had a part in it.
        classes: how the best one answered each class of val, if that was counted.
    """

    epochs: list[EpochLog]
    best_epoch: int
    best_accuracy: float
    earlier_seconds: float
    made_by: dict[str, str]
    classes: ClassCounts | None = None


class RunningHistory:
    """How a training went up to now, and the weights that were best on val.

    Args:
        best: what the network reached on val before it was trained, if that counts.
        best_state: its tensors then.
        made_by: what to record of all processes that had a part in it.
        earlier_seconds: what those spent that were stopped.
        balanced: every class of val counts alike, however many images it has.
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
        self._balanced = balanced

    @property
    def seconds(self) -> float:
        """Spent up to now, by those that were stopped too."""
        return self.earlier_seconds + time.monotonic() - self._began

    def history(self) -> History:
        """The same for the record."""
        accuracy, classes = (self.best.accuracy, self.best.classes) if self.best else (0.0, None)
        return History(self.logs, self.best_epoch, accuracy, self.earlier_seconds, self.made_by, classes)

    def add(self, log: EpochLog, found: Evaluation, model: nn.Module) -> None:
        """One more epoch and what it reached on val; the model's weights are copied where they are the best."""
        self.logs.append(log)
        if found.better_than(self.best, self._balanced):
            self.best, self.best_epoch, self.best_state = found, log.epoch, copy_state(model)


def checkpoint(
    running: RunningHistory, model: nn.Module, optimizer: torch.optim.Optimizer, generator: Generator
) -> Checkpoint:
    """All that ``resume`` needs."""
    of_torch, others = random_states()
    parts = {
        "model": model.state_dict(),
        "best": running.best_state,
        "momentum": momenta(model, optimizer),
        "random": {**of_torch, "order": generator.get_state()},
    }
    tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
    facts = {
        "logs": [asdict(log) for log in running.logs],
        "best": asdict(running.best) if running.best else None,
        "best_epoch": running.best_epoch,
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
    """Put everything where it was after the saved epoch."""
    model.load_state_dict(saved.part("model"))
    restore_momenta(model, optimizer, saved.part("momentum"))
    states = saved.part("random")
    generator.set_state(states["order"])
    restore_random_states(states, saved.facts["random"])
    best = saved.facts["best"]
    # A training that began on a GPU or in several processes keeps that in its record, wherever it ends.
    made_by = {**made_by, **saved.facts["made_by"]}
    running = RunningHistory(
        _evaluation(best) if best else None, saved.part("best"), made_by, saved.facts["seconds"], balanced
    )
    running.best_epoch = saved.facts["best_epoch"]
    running.logs = [EpochLog(**log) for log in saved.facts["logs"]]
    return running


def _evaluation(saved: dict[str, Any]) -> Evaluation:
    classes = saved.get("classes")
    return Evaluation(saved["accuracy"], saved["loss"], ClassCounts(**classes) if classes else None)


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """A network's tensors as they are now."""
    # state_dict gives the tensors themselves, which the next step changes.
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
