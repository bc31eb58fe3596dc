"""The comparison's tables: runs, pairs, settings that differ, where latency was measured."""

from collections.abc import Iterator, Sequence

from edgekd.report import wording as w
from edgekd.report.compare.comparison import Comparison, Pair, RunFacts
from edgekd.report.compare.wording import (
    front_words,
    group_words,
    more_accurate_words,
    outcome_words,
    setting_words,
)
from edgekd.report.schema import Outcome
from edgekd.report.table import Cell, Line, Look, Row, Table, cell, figures, words

_OUTCOMES: dict[Outcome, Look] = {"pass": "pass", "fail": "warn", "no budget": "quiet"}
_NOTHING = "–"


def runs_table(comparison: Comparison) -> Table:
    """One row per run, those that may be compared in every figure together."""
    columns = [
        words("run", "recommended file"),
        figures("accuracy", "[95 %]"),
        figures("size, kB"),
        *(figures("p50, ms", place) for place in comparison.places),
        figures("MACs", "params", always=False),
        words("Pareto front", "accuracy, size, p50"),
    ]
    *others, last = comparison.groups
    ends = [group[-1] for group in others]
    rows = [_run(comparison, run, ends_group=run in ends) for group in (*others, last) for run in group]
    return Table(columns, rows)


def _run(comparison: Comparison, run: RunFacts, ends_group: bool) -> Row:
    outcome = outcome_words(run)
    return Row(
        [
            cell(Line(run.name, "strong"), Line(run.model, "small", aside=f", {run.precision}")),
            cell(w.percent(run.accuracy), w.percent_interval(run.accuracy_ci95)),
            cell(w.kilobytes(run.size_bytes)),
            *(_latency(comparison, place, run) for place in comparison.places),
            cell(w.count(run.macs), w.count(run.params)),
            _front(comparison, run),
        ],
        tag=Line(outcome, _OUTCOMES[run.outcome]) if outcome else None,
        ends_group=ends_group,
    )


def _latency(comparison: Comparison, place: str, run: RunFacts) -> Cell:
    if place not in run.latencies:
        return cell(Line(_NOTHING, "muted"))
    latency = run.latencies[place]
    group, p50, p99 = group_words(comparison, place, latency), latency.latency_ms.p50, latency.latency_ms.p99
    return cell(w.milliseconds(p50), f"p99 {w.milliseconds(p99)}", Line(group, "quiet") if group else "")


def _front(comparison: Comparison, run: RunFacts) -> Cell:
    several = len(comparison.places) > 1
    return tuple(
        Line(f"{place}: {front_words(latency)}" if several else front_words(latency), _on_front(latency.on_front))
        for place, latency in run.latencies.items()
    )


def _on_front(on_front: bool | None) -> Look:
    return "pass" if on_front else "muted"


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """How the accuracies of two runs differ."""
    columns = [
        words("first"),
        words("second"),
        figures("first − second", "points"),
        figures("only first", "right"),
        figures("only second", "right"),
        figures("McNemar"),
        words("more accurate"),
    ]
    return Table(columns, [_pair(pair) for pair in pairs])


def _pair(pair: Pair) -> Row:
    only = [_NOTHING if images is None else f"{images:,}" for images in (pair.only_first, pair.only_second)]
    return Row(
        [
            cell(pair.first),
            cell(pair.second),
            cell(w.minus(w.points(pair.accuracy_difference))),
            *(cell(images) for images in only),
            cell(_NOTHING if pair.p_value is None else w.p_value(pair.p_value)),
            cell(Line(more_accurate_words(pair), "pass" if pair.measured else "muted")),
        ]
    )


def settings_table(comparison: Comparison) -> Table:
    """One row per setting that is not the same in all runs."""
    names = [run.name for run in comparison.runs]
    rows = [
        Row([cell(Line(found.setting, "code")), *(cell(setting_words(found.values, name)) for name in names)])
        for found in comparison.differences
    ]
    return Table([words(title) for title in ("setting that differs", *names)], rows)


def places_table(comparison: Comparison) -> Table:
    """Where latency was measured, and of which runs in the same way."""
    titles = ("", "runs", "CPU", "threads", "batch", "ONNX Runtime")
    rows = [row for place in comparison.places for row in _conditions(comparison, place)]
    return Table([words(title) for title in titles], rows)


def _conditions(comparison: Comparison, place: str) -> Iterator[Row]:
    there = [run for run in comparison.runs if place in run.latencies]
    for group in sorted({run.latencies[place].group for run in there}):
        alike = [run for run in there if run.latencies[place].group == group]
        found = alike[0].latencies[place]
        letter = group_words(comparison, place, found)
        conditions = [cell(str(value)) for value in found.conditions.model_dump().values()]
        runs = cell(", ".join(run.name for run in alike))
        yield Row([cell(Line(place, "strong")), runs, *conditions], tag=Line(letter, "quiet") if letter else None)
