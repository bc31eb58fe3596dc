"""One worker: what it does while another process makes a stage, and while others have the last trials."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from edgekd.config.progress import Progress
from edgekd.errors import BusyError
from edgekd.pipeline.search import worker as module
from edgekd.pipeline.search.contending import Reference
from edgekd.pipeline.search.study import Asked, Trials
from edgekd.pipeline.search.trial import Bench
from edgekd.pipeline.search.worker import OfTrial, Worker
from edgekd.report.search.schema import Tried
from tests.report.search.made_up import tried


class Told(Progress):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def work(self, label: str, done: int, total: int) -> None:
        self.lines.append(f"{label} {done}/{total}")

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self.lines.append("an epoch")


class Listed:
    """Trials in a list, as ``Trials`` gives them; ``others``: what it says of other workers, one answer a look."""

    def __init__(self, numbers: list[int | None], others: list[list[str]] | None = None) -> None:
        self._numbers, self._others = numbers, others or []
        self.found: list[Tried] = []

    def next(self, wanted: int) -> Asked | None:
        number = self._numbers.pop(0) if self._numbers else None
        if number is None:
            return None
        trial = type("Trial", (), {"number": number})()
        return Asked(trial, {"distill.lr": 0.1})

    def others(self) -> list[str]:
        return self._others.pop(0) if self._others else []

    def tell(self, asked: Asked, found: Tried) -> None:
        self.found.append(found)

    def done(self) -> list[Tried]:
        return self.found


class StubBench:
    def telling(self, progress: Progress) -> "StubBench":
        return self


def work(monkeypatch: pytest.MonkeyPatch, trials: Listed, busy: set[int]) -> list[str]:
    """The trials as a worker carried them out, with whether it waited; ``busy``: those that another process is at."""
    done: list[str] = []

    def try_out(_bench: Any, _reference: Any, number: int, _values: Any, *, waits: bool) -> Tried:
        done.append(f"{number} waits" if waits else str(number))
        if number in busy and not waits:
            raise BusyError("lock", "another run is making this", "wait")
        return tried(number, None, outcome="stopped early", detail="hopeless")

    monkeypatch.setattr(module, "try_out", try_out)
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)
    Worker(cast(Trials, trials), cast(Bench, StubBench()), cast(Reference, None), 9, Told()).work()
    return done


def test_trials_are_run_until_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Listed([0, 1, 2])

    assert work(monkeypatch, trials, busy=set()) == ["0", "1", "2"]
    assert [found.number for found in trials.found] == [0, 1, 2]


def test_a_trial_of_which_another_process_makes_a_stage_is_put_off_for_one_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert work(monkeypatch, Listed([0, 1, 2]), busy={0}) == ["0", "1", "0 waits", "2"]


def test_where_the_other_trial_needs_what_is_being_made_too_both_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(monkeypatch, Listed([0, 1, 2]), busy={0, 1}) == ["0", "1", "0 waits", "1 waits", "2"]


def test_the_last_trial_waits_if_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(monkeypatch, Listed([0]), busy={0}) == ["0", "0 waits"]


def test_a_trial_that_another_worker_leaves_undone_at_the_end_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[list[str]] = [[], [], ["pid 1"], ["pid 1"], []]

    assert work(monkeypatch, Listed([0, None, None, 5], others), busy=set()) == ["0", "5"]


def test_of_what_a_run_tells_of_itself_only_the_work_and_the_warnings_are_heard() -> None:
    told = Told()
    heard = OfTrial(told, "trial 3")

    heard.note("channels: a 32->16")
    heard.note("warning: distill never answers 2 of the 10 classes")
    heard.stage("distill", 1, 5)
    heard.epoch("distill", 1, 3, {})
    heard.work("distill", 1, 9)

    assert told.lines == ["trial 3: warning: distill never answers 2 of the 10 classes", "trial 3: distill 1/9"]
