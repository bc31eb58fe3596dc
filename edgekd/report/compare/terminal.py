"""The comparison in a terminal: one row per run, accuracy differences, settings that differ, reasons."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from edgekd.report.compare.comparison import Comparison, Pair, RunFacts
from edgekd.report.compare.tables import pairs_table, runs_table, settings_table
from edgekd.report.compare.wording import SAME_SETTINGS
from edgekd.report.terminal import WIDE, drawn, told

MOST_PAIRS = 10
"""Of more pairs only those with the most accurate run are shown."""


def render_comparison(comparison: Comparison) -> RenderableType:
    """Tables as wide as the console allows, then one line for each reason and note."""
    return _Rendered(comparison)


@dataclass(frozen=True)
class _Rendered:
    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        found, wide = self.comparison, options.max_width >= WIDE
        yield drawn(runs_table(found), wide)
        shown = _shown(found)
        if shown:
            yield drawn(pairs_table(shown), wide)
        if len(shown) < len(found.pairs):
            yield Text(f"{len(shown)} of {len(found.pairs)} pairs; all are in --json and in the page")
        yield drawn(settings_table(found), wide) if found.differences else Text(SAME_SETTINGS)
        yield from told("warning", found.alarms, "bold red")
        yield from told("note", [*found.reasons, *found.warnings], "yellow")
        yield from told("note", found.notes)


def _shown(comparison: Comparison) -> list[Pair]:
    if len(comparison.pairs) <= MOST_PAIRS:
        return comparison.pairs
    best: dict[int, RunFacts] = {}
    for run in comparison.runs:
        best[run.test_group] = max(best.get(run.test_group, run), run, key=lambda found: found.accuracy)
    names = {run.name for run in best.values()}
    return [pair for pair in comparison.pairs if {pair.first, pair.second} & names]
