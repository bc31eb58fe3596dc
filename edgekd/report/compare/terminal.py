"""The comparison in a terminal: one row per run, accuracy differences, settings that differ, reasons."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd.report import wording as w
from edgekd.report.compare.comparison import Comparison, Pair, RunFacts
from edgekd.report.compare.wording import front_words, group_words, more_accurate_words, outcome_words, setting_words
from edgekd.report.terminal import WIDE, new_table, two_lines

MOST_PAIRS = 10
"""Of more, those with the most accurate run are shown."""


def render_comparison(comparison: Comparison) -> RenderableType:
    """Tables as wide as the console allows, then one line for each reason and note."""
    return _Rendered(comparison)


@dataclass(frozen=True)
class _Rendered:
    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield _runs(self.comparison, wide=options.max_width >= WIDE)
        yield from _pairs(self.comparison)
        yield _settings(self.comparison)
        for text in self.comparison.alarms:
            yield Text(f"warning: {w.plain(text)}", "bold red")
        for text in [*self.comparison.reasons, *self.comparison.warnings]:
            yield Text(f"note: {w.plain(text)}", "yellow")
        for text in self.comparison.notes:
            yield Text(f"note: {w.plain(text)}")


def _runs(comparison: Comparison, wide: bool) -> Table:
    table = new_table()
    columns = [column for column in _columns(comparison) if wide or column.always]
    for column in columns:
        table.add_column(two_lines(Text(column.title), column.detail), overflow="fold", justify=column.justify)
    for group in comparison.groups:
        for run in group:
            table.add_row(*(column.cell(run) for column in columns), end_section=run is group[-1])
    return table


@dataclass(frozen=True)
class _Column:
    title: str
    detail: str
    cell: Callable[[RunFacts], Text]
    always: bool = True
    justify: Literal["left", "right"] = "left"


def _columns(comparison: Comparison) -> list[_Column]:
    return [
        _Column("run", "recommended", _run),
        _Column("accuracy", "95 % interval", _accuracy),
        _Column("size, kB", "", lambda run: Text(w.kilobytes(run.size_bytes)), justify="right"),
        *(_latency_column(comparison, place) for place in comparison.places),
        _Column("MACs", "params", _work, always=False, justify="right"),
        _Column("Pareto front", "accuracy, size, p50", lambda run: _front(comparison, run)),
    ]


def _latency_column(comparison: Comparison, place: str) -> _Column:
    def cell(run: RunFacts) -> Text:
        if place not in run.latencies:
            return Text("–")
        latency = run.latencies[place]
        words = group_words(comparison, place, latency)
        p99 = f"p99 {w.milliseconds(latency.latency_ms.p99)}"
        return two_lines(Text(w.milliseconds(latency.latency_ms.p50)), f"{p99}\n{words}".rstrip())

    return _Column("p50, ms", w.plain(place), cell, justify="right")


def _run(run: RunFacts) -> Text:
    cell, outcome = two_lines(Text(w.plain(run.name), "bold"), w.plain(run.model)), outcome_words(run)
    return cell.append(f"\n{outcome}", "yellow" if run.outcome == "fail" else "dim") if outcome else cell


def _accuracy(run: RunFacts) -> Text:
    return two_lines(Text(w.percent(run.accuracy)), w.percent_interval(run.accuracy_ci95))


def _work(run: RunFacts) -> Text:
    return two_lines(Text(w.count(run.macs)), w.count(run.params))


def _front(comparison: Comparison, run: RunFacts) -> Text:
    return Text("\n").join(
        Text(
            f"{w.plain(place)}: {w.plain(front_words(latency))}"
            if len(comparison.places) > 1
            else front_words(latency),
            "green" if latency.on_front else "",
        )
        for place, latency in run.latencies.items()
    )


def _pairs(comparison: Comparison) -> Iterator[RenderableType]:
    """Nothing where no two runs saw the same images."""
    shown = _shown(comparison)
    if not shown:
        return
    table = new_table()
    for title, detail in (("first", ""), ("second", ""), ("first − second", "points"), ("only one right", "1st : 2nd")):
        table.add_column(two_lines(Text(title), detail), justify="right" if detail else "left", overflow="fold")
    table.add_column("McNemar")
    table.add_column("more accurate", overflow="fold")
    for pair in shown:
        table.add_row(*_pair(pair))
    yield table
    if len(shown) < len(comparison.pairs):
        yield Text(f"{len(shown)} of {len(comparison.pairs)} pairs; all are in --json and in the page")


def _shown(comparison: Comparison) -> list[Pair]:
    if len(comparison.pairs) <= MOST_PAIRS:
        return comparison.pairs
    best: dict[int, RunFacts] = {}
    for run in comparison.runs:
        best[run.test_group] = max(best.get(run.test_group, run), run, key=lambda found: found.accuracy)
    names = {run.name for run in best.values()}
    return [pair for pair in comparison.pairs if {pair.first, pair.second} & names]


def _pair(pair: Pair) -> list[Text]:
    return [
        Text(w.plain(pair.first)),
        Text(w.plain(pair.second)),
        Text(w.points(pair.accuracy_difference)),
        Text("–" if pair.only_first is None else f"{pair.only_first} : {pair.only_second}"),
        Text("–" if pair.p_value is None else w.p_value(pair.p_value)),
        Text(w.plain(more_accurate_words(pair))),
    ]


def _settings(comparison: Comparison) -> RenderableType:
    if not comparison.differences:
        return Text("The settings are the same in all runs.")
    table = new_table()
    for title in ("setting that differs", *(run.name for run in comparison.runs)):
        table.add_column(Text(w.plain(title)), overflow="fold")
    for difference in comparison.differences:
        values = (setting_words(difference.values, run.name) for run in comparison.runs)
        table.add_row(*(Text(w.plain(text)) for text in (difference.setting, *values)))
    return table
