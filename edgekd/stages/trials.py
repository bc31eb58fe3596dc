"""``auto``: a setting is chosen by short trainings of the same student, whichever is best on val."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag
from torch import nn

from edgekd.data import Mix
from edgekd.stages.base import Context
from edgekd.stages.manifests import Search, Trial
from edgekd.training.checkpoint import Checkpoints, random_states, restore_random_states
from edgekd.training.evaluation import Evaluation
from edgekd.training.fit import BatchLoss, Schedule, fit
from edgekd.training.history import History

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
"""That ``auto`` tries."""
Temperature = Annotated[
    Annotated[float, Field(gt=0, le=100), Tag("(number)")] | Annotated[Literal["auto"], Tag("(word)")],
    Discriminator(lambda given: "(word)" if isinstance(given, str) else "(number)"),
]
SHORTER = 4
"""A trial has so many times fewer epochs than the training that it decides for."""


def searched(
    ctx: Context,
    setting: str,
    values: Sequence[float],
    student: nn.Module,
    loss_with: Callable[[float, nn.Module], BatchLoss],
    schedule: Schedule,
    mix: Mix | None = None,
) -> Search:
    """The value of a setting with which copies of a student learn most in a quarter of the epochs, at least one.

    All begin with the same weights, images and random numbers; the student and torch's generators are left as they
    were. Each trial has checkpoints of its own, so that a stopped search goes on.

    Args:
        ctx: of the stage.
        setting: its name.
        values: to try, in this order; of equals the first is taken.
        student: stays as it is.
        loss_with: the loss of a copy of it, with a value.
        schedule: of the whole training.
        mix: of its batches.
    """
    short, states = replace(schedule, epochs=max(1, schedule.epochs // SHORTER)), random_states()
    tried: dict[float, Evaluation] = {}
    for value in values:
        trial = copy.deepcopy(student)
        history = fit(
            trial,
            loss_with(value, trial),
            ctx.data,
            short,
            seed=ctx.seed,
            progress=ctx.progress,
            label=f"{ctx.name}: {setting} {value:g}",
            checkpoints=Checkpoints(ctx.checkpoints.folder / f"{setting}-{value:g}"),
            processes=ctx.processes,
            mix=mix,
        )
        tried[value] = _reached(history)
        restore_random_states(*states)
    search = Search(
        setting=setting,
        epochs=short.epochs,
        chosen=best_of(tried, ctx.data.balance),
        tried=[Trial(value=value, val_accuracy=found.decisive(ctx.data.balance)) for value, found in tried.items()],
    )
    ctx.progress.note(f"{ctx.name}: {search.in_words}")
    return search


def _reached(history: History) -> Evaluation:
    """The best epoch's result on val."""
    loss = history.epochs[history.best_epoch - 1].val_loss
    return Evaluation(history.best_accuracy, loss, history.classes)


def best_of(tried: dict[float, Evaluation], balanced: bool) -> float:
    """The value with the best result on val; of equals the first."""
    best, reached = next(iter(tried.items()))
    for value, found in tried.items():
        if found.better_than(reached, balanced):
            best, reached = value, found
    return best
