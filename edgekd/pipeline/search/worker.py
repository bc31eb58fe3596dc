"""One worker of a search: asks for a trial, runs it, writes down what was found, until there are enough."""

import time
from dataclasses import dataclass

from edgekd.config.progress import Progress
from edgekd.errors import BusyError
from edgekd.pipeline.search.contending import Reference
from edgekd.pipeline.search.study import Asked, Trials
from edgekd.pipeline.search.trial import Bench, try_out
from edgekd.report import wording as w
from edgekd.report.search.wording import contender_words, values_words

LOOK_AGAIN_SECONDS = 1.0
"""Between two looks whether other workers have ended their last trials."""


@dataclass(frozen=True)
class Worker:
    """Works on a search, beside any number of others.

    Args:
        wanted: trials in all.
    """

    trials: Trials
    bench: Bench
    reference: Reference
    wanted: int
    progress: Progress

    def work(self) -> None:
        """Run trials until so many as wanted are done, those of the others among them."""
        while (asked := self._next()) is not None:
            self._attend(asked)

    def _next(self) -> Asked | None:
        """The next trial; while only others have any left this waits, since they may leave one undone."""
        told = False
        while True:
            # Looked at first: a worker that ends in between leaves its trial to the next line.
            others = self.trials.others()
            asked = self.trials.next(self.wanted)
            if asked is not None or not others:
                return asked
            if not told:
                self.progress.note(f"the last trials are under way ({', '.join(others)}); waiting")
            told = True
            time.sleep(LOOK_AGAIN_SECONDS)

    def _attend(self, asked: Asked) -> None:
        """Run a trial; where another process makes a stage of it, try one other first."""
        put_off = [] if self._ran(asked, waits=False) else [asked]
        other = self.trials.next(self.wanted) if put_off else None
        if other is not None and not self._ran(other, waits=False):
            put_off.append(other)
        for each in put_off:
            self._ran(each, waits=True)

    def _ran(self, asked: Asked, *, waits: bool) -> bool:
        """Run a trial and write down what was found; False where another process makes a stage of it."""
        label = f"trial {asked.number}"
        self.progress.stage(f"{label}: {values_words(asked.values)}", len(self.trials.done()), self.wanted)
        bench = self.bench.telling(OfTrial(self.progress, label))
        try:
            tried = try_out(bench, self.reference, asked.number, asked.values, waits=waits)
        except BusyError:
            self.progress.note(f"{label}: another run makes a stage of it; put off")
            return False
        self.trials.tell(asked, tried)
        self.progress.note(f"{label}: {contender_words(tried)}{self._left()}")
        return True

    def _left(self) -> str:
        """How long the rest will take, from what finished trials took."""
        done, workers = self.trials.done(), 1 + len(self.trials.others())
        left = self.wanted - len(done)
        seconds = left * sum(trial.seconds for trial in done) / len(done) / workers
        return f"; about {w.seconds(seconds)} left" if left > 0 else ""


class OfTrial(Progress):
    """Says of which trial some work is; what a single run tells of itself is too much for many of them."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label

    def note(self, text: str) -> None:
        if text.startswith(("warning", "another run", "artifact")):
            self._progress.note(f"{self._label}: {text}")

    def work(self, label: str, done: int, total: int) -> None:
        self._progress.work(f"{self._label}: {label}", done, total)
