"""Compares finished runs: the output of ``edgekd compare``, as records.

``edgekd compare --json`` prints a ``Comparison``:

    {"schema": 2,
     "runs": [{"name": "a", "path": "exports/a", "model": "qat", "file": "model.onnx", "precision": "int8",
               "outcome": "pass", "accuracy": 0.99, "accuracy_ci95": [0.97, 1.0], "correct": 356, "total": 360,
               "size_bytes": 0, "macs": 0, "params": 0,
               "dataset": "digits", "image_size": 32, "test_group": 0,
               "latencies": {"host": {"latency_ms": {"p50": 0, "p90": 0, "p99": 0, "runs": 0},
                                      "conditions": {"cpu": "...", "threads": 1, "batch": 1, "onnxruntime": "..."},
                                      "group": 0, "on_front": true, "behind": []}}}],
     "pairs": [{"first": "a", "second": "b", "accuracy_difference": 0.01, "only_first": 4, "only_second": 1,
                "p_value": 0.375, "measured": false}],
     "differences": [{"setting": "distill.temperature", "values": {"a": 4.0, "b": 2.0}}],
     "alarms": ["b: qat lies 7.5 points below teacher on test."],
     "reasons": ["b was measured on another CPU (...): latencies are not compared."],
     "warnings": ["b: there is no predictions.npz beside its report, so ..."],
     "notes": ["Latencies are absolute figures of separate runs, ..."]}
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import Field, computed_field

from edgekd.ondevice.sizes import Size
from edgekd.report.alarms import alarms
from edgekd.report.compare.comparable import (
    HOST,
    Conditions,
    Timing,
    grouped,
    same_conditions,
    same_test_images,
    the_place,
    timings,
    why_not_accuracy,
    why_not_latency,
)
from edgekd.report.compare.pareto import Point, better
from edgekd.report.compare.runs import Run
from edgekd.report.compare.settings_that_differ import Difference, differences
from edgekd.report.record import Record
from edgekd.report.schema import Latency, Outcome
from edgekd.report.wording import listed
from edgekd.training.significance import SIGNIFICANT, mcnemar_p

COMPARISON_VERSION = 2
DISTURBED = 3.0
"""Ratio of p99 to p50 from which on a latency counts as disturbed; on a quiet machine it is below 2."""


class PlaceLatency(Record):
    """A run's latency in one place, and its rank among the comparable runs there."""

    latency_ms: Latency
    conditions: Conditions
    group: int = Field(description="runs of one number were measured alike in this place")
    on_front: bool | None = Field(description="no comparable run beats it; None: there is none to compare it with")
    behind: list[str] = Field(description="runs that are no worse in accuracy, size and latency, and better in one")


class RunFacts(Record):
    """One run's recommended file."""

    name: str
    path: str
    model: str = Field(description="id of the recommended file")
    file: str
    precision: str
    outcome: Outcome = Field(description="the report's verdict: fail where the budget, or any gain, is missed")
    accuracy: float
    accuracy_ci95: tuple[float, float]
    correct: int
    total: int
    size_bytes: int
    macs: int
    params: int
    dataset: str
    image_size: Size = Field(description="pixels a side, or height and width")
    test_group: int = Field(description="runs of one number saw the same test images")
    latencies: dict[str, PlaceLatency] = Field(description="by place: host, then devices by name")


class Pair(Record):
    """Two runs on the same test images, by McNemar's exact test."""

    first: str
    second: str
    accuracy_difference: float = Field(description="first minus second")
    only_first: int | None = Field(description="images that only the first gets right; None: not stored")
    only_second: int | None
    p_value: float | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def measured(self) -> bool:
        """True where a difference was measured."""
        return self.p_value is not None and self.p_value < SIGNIFICANT


class Comparison(Record):
    """The comparison of several runs."""

    schema_version: int = Field(COMPARISON_VERSION, serialization_alias="schema", validation_alias="schema")
    runs: list[RunFacts] = Field(description="those that saw the same images, and were measured alike, together")
    pairs: list[Pair]
    differences: list[Difference]
    alarms: list[str] = Field(
        [], description="what must not be overlooked of a run's recommended file, a sentence each"
    )
    reasons: list[str] = Field(description="why some figures are not compared, a sentence each")
    warnings: list[str] = Field(description="what is in doubt, a sentence each")
    notes: list[str]

    @property
    def places(self) -> list[str]:
        """Where latencies were measured, the host first."""
        return list(dict.fromkeys(place for run in self.runs for place in run.latencies))

    @property
    def groups(self) -> list[list[RunFacts]]:
        """Groups of runs that are comparable in accuracy and in latency on the host."""
        groups: dict[tuple[int, int], list[RunFacts]] = {}
        for run in self.runs:
            groups.setdefault((run.test_group, run.latencies[HOST].group), []).append(run)
        return list(groups.values())


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs wherever that is sound, and say where it is not.

    Args:
        runs: as ``load_runs`` gives them.
    """
    tested = grouped(runs, same_test_images)
    measured = {place: grouped(_measured_in(place, runs), same_conditions(place)) for place in _places(runs)}
    facts = [_facts(run, tested, measured) for run in runs]
    return Comparison(
        runs=sorted(facts, key=lambda run: (run.test_group, run.latencies[HOST].group)),
        pairs=[_pair(*two) for group in tested for two in combinations(group, 2)],
        differences=differences({run.name: run.report for run in runs}),
        alarms=[f"{run.name}: {text}" for run in runs for text in alarms(run.report)],
        reasons=[
            *why_not_accuracy(tested),
            *(reason for place, groups in measured.items() for reason in why_not_latency(place, groups)),
        ],
        warnings=[*_untested(tested), *_disturbed(measured)],
        notes=list(_not_interleaved(measured)),
    )


def _places(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(place for run in runs for place in timings(run)))


def _measured_in(place: str, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if place in timings(run)]


def _number(run: Run, groups: Sequence[Sequence[Run]]) -> int:
    return next(number for number, group in enumerate(groups) if run in group)


def _facts(run: Run, tested: Sequence[Sequence[Run]], measured: Mapping[str, Sequence[Sequence[Run]]]) -> RunFacts:
    model, group = run.model, _number(run, tested)
    return RunFacts(
        name=run.name,
        path=str(run.path),
        model=model.id,
        outcome=run.report.verdict.outcome,
        dataset=run.report.data.name,
        image_size=run.report.data.image_size,
        test_group=group,
        latencies={
            place: _place_latency(place, timing, run, tested[group], measured[place])
            for place, timing in timings(run).items()
        },
        **model.model_dump(include=_FROM_MODEL),
    )


_FROM_MODEL = {
    "file",
    "precision",
    "accuracy",
    "accuracy_ci95",
    "correct",
    "total",
    "size_bytes",
    "macs",
    "params",
}


def _place_latency(
    place: str, timing: Timing, run: Run, tested: Sequence[Run], measured: Sequence[Sequence[Run]]
) -> PlaceLatency:
    number = _number(run, measured)
    # Comparable in latency and in accuracy: the front is about all three figures at once.
    rivals = [other for other in measured[number] if other in tested and other is not run]
    behind = [other.name for other in rivals if better(_point(other, place), _point(run, place))]
    return PlaceLatency(
        latency_ms=timing.latency_ms,
        conditions=timing.conditions,
        group=number,
        on_front=not behind if rivals else None,
        behind=behind,
    )


def _point(run: Run, place: str) -> Point:
    return Point(run.model.accuracy, run.model.size_bytes, timings(run)[place].latency_ms.p50)


def _pair(one: Run, other: Run) -> Pair:
    pair = Pair(
        first=one.name,
        second=other.name,
        accuracy_difference=one.model.accuracy - other.model.accuracy,
        only_first=None,
        only_second=None,
        p_value=None,
    )
    if _cannot_pair(one, other):
        return pair
    assert one.answers is not None
    assert other.answers is not None
    right, others = one.answers.right(one.model.id), other.answers.right(other.model.id)
    only_first, only_second = int((right & ~others).sum()), int((others & ~right).sum())
    found = {"only_first": only_first, "only_second": only_second, "p_value": mcnemar_p(only_first, only_second)}
    return pair.model_copy(update=found)


def _cannot_pair(one: Run, other: Run) -> bool:
    if one.answers is None or other.answers is None:
        return True
    # Answers are paired by position; other labels mean other images, or another order.
    return not np.array_equal(one.answers.labels, other.answers.labels)


def _untested(tested: Sequence[Sequence[Run]]) -> Iterator[str]:
    """Warnings where a difference in accuracy cannot be tested although the images are the same."""
    for group in tested:
        if len(group) == 1:
            continue
        for run in group:
            if run.doubt:
                yield f"{run.name}: {run.doubt}, so no difference in accuracy to it is tested."
        for one, other in combinations([run for run in group if run.answers is not None], 2):
            if _cannot_pair(one, other):
                yield f"{one.name} and {other.name} store different labels, so their difference is not tested."


def _not_interleaved(measured: Mapping[str, Sequence[Sequence[Run]]]) -> Iterator[str]:
    together = next((group for groups in measured.values() for group in groups if len(group) > 1), None)
    if together is None:
        return
    paths = " ".join(shlex.quote(str(run.path)) for run in together)
    yield (
        "Latencies are absolute figures of separate runs, not interleaved with one another; "
        f"to compare them paired: edgekd bench {paths}"
    )


def _disturbed(measured: Mapping[str, Sequence[Sequence[Run]]]) -> Iterator[str]:
    """Warnings about latencies that were disturbed by other work on the machine."""
    for place, groups in measured.items():
        spread = {run.name: timings(run)[place].latency_ms for group in groups if len(group) > 1 for run in group}
        names = [name for name, latency in spread.items() if latency.p99 > DISTURBED * latency.p50]
        if names:
            yield (
                f"{listed(names)} on {the_place(place)}: p99 is more than {DISTURBED:g} times p50, on a quiet machine "
                "it is less than twice; p50 may be too high."
            )
