"""Runs what is left of an ablation; other processes may work on the same store."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.config.progress import Progress
from edgekd.errors import (
    BusyError,
    ConfigError,
    EdgekdError,
    ExportError,
    ModelError,
    PruningError,
    QuantizationError,
    ShapeError,
    TrainingError,
)
from edgekd.pipeline.ablation.plan import Run
from edgekd.pipeline.pipeline import Outcome
from edgekd.report.ablation.schema import BASE
from edgekd.store import lock
from edgekd.store.artifacts import Store

LOOK_AGAIN_SECONDS = 2.0
"""Between two looks whether another process has ended what every run waits for."""
OF_THE_ARM = (ConfigError, ModelError, PruningError, QuantizationError, ExportError, TrainingError, ShapeError)
"""Errors that say something of an arm, not of the disk or the machine, which would stop every other arm too."""


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    Args:
        outcome: what was measured; the error where the arm cannot be run.
        seconds: that it took now, but for making artifacts: checks, measuring; None if all of it was there.
    """

    run: Run
    outcome: Outcome | EdgekdError
    seconds: float | None


def ended(runs: Sequence[Run], models: Path, progress: Progress) -> Iterator[Ended]:
    """Every run, done now or before, as it ends; those on which another process works are put off.

    Raises:
        EdgekdError: a run of the file itself fails, or the disk or the machine does.
    """
    store, left, total = Store(models), [*runs], sum(len(run.drafts) + 1 for run in runs)
    before = dict(zip((run.label for run in runs), _begins(runs), strict=True))
    while left:
        put_off = []
        for run in left:
            found = _ended(run, store, OfRun(progress, run, before[run.label], total))
            if found is None:
                put_off.append(run)
            else:
                yield found
        if len(put_off) == len(left):
            time.sleep(LOOK_AGAIN_SECONDS)
        left = put_off


def _begins(runs: Sequence[Run]) -> Iterator[int]:
    """The number of each run's first stage among the stages of all runs."""
    begin = 0
    for run in runs:
        yield begin
        begin += len(run.drafts) + 1


def _ended(run: Run, store: Store, progress: Progress) -> Ended | None:
    """A run that was carried out; None if another process works on it."""
    if any(lock.holder(store.lock(digest)) for digest in run.artifacts):
        return None
    missing = [digest for digest in run.artifacts if not store.folder(digest).is_dir()]
    # That all of it is up to date would be a dozen lines for every run.
    told, began = progress if missing else Progress(), time.monotonic()
    try:
        with run.pipeline.outcome(store.root, run.data, progress=told, waits=False) as outcome:
            assert outcome is not None, "it has an export stage"
    except BusyError:
        return None
    except OF_THE_ARM as error:
        if run.arm == BASE:
            raise
        return Ended(run, error, None)
    made = [done.made.seconds for done in outcome.subject.stages.values() if done.artifact.digest in missing]
    return Ended(run, outcome, max(0.0, time.monotonic() - began - sum(made)) if missing else None)


class OfRun(Progress):
    """Says of which run something is reported, and counts its stages among those of all runs."""

    def __init__(self, progress: Progress, run: Run, before: int, total: int) -> None:
        self._progress, self._label, self._before, self._total = progress, run.label, before, total

    def note(self, text: str) -> None:
        self._progress.note(text)

    def stage(self, label: str, index: int, total: int) -> None:
        self._progress.stage(f"{self._label}: {label}", self._before + index, self._total)

    def work(self, label: str, done: int, total: int) -> None:
        self._progress.work(f"{self._label}: {label}", done, total)

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self._progress.epoch(f"{self._label}: {label}", epoch, epochs, figures)
