"""The report in a terminal: the verdict, one row per exported file, the notes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich import table as rich_table
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from edgekd.report import wording as w
from edgekd.report.alarms import alarms
from edgekd.report.devices import device_facts, device_table, device_warnings
from edgekd.report.files import files_table
from edgekd.report.roles import recommended_of, role_of
from edgekd.report.schema import DeviceReport, Outcome, Report
from edgekd.report.table import Cell, Look, Row, Table

COLOURS: Mapping[Outcome, str] = {"pass": "green", "fail": "red", "no budget": "cyan"}
_STYLES: Mapping[Look, str] = {
    "strong": "bold",
    "small": "not bold dim",
    "pass": "green",
    "warn": "yellow",
    "fail": "red",
    "quiet": "dim",
}
# Columns of text from which on every figure fits.
WIDE = 104


def render_table(report: Report) -> RenderableType:
    """The verdict, a table as wide as the console allows, and one line for each note."""
    return _Rendered(report)


def render_device(report: Report, device: DeviceReport) -> RenderableType:
    """The figures of one device."""
    return Group(*_device(report, device))


def drawn(table: Table, wide: bool) -> RenderableType:
    """A table; a row that is chosen and tagged is marked with an arrow."""
    marked = any(row.chosen and row.tag for row in table.rows)
    shown = [index for index, column in enumerate(table.columns) if wide or column.always]
    grid = rich_table.Table(
        box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 2 if wide else 1, 0, 0)
    )
    for index in shown:
        column, indent = table.columns[index], "  " if marked and index == 0 else ""
        grid.add_column(_text(column.title, indent), overflow="fold", justify=column.side, min_width=column.narrowest)
    for row in table.rows:
        first = _marked(row) if marked else _named(row)
        cells = [_text(row.cells[index]) if index else first for index in shown]
        grid.add_row(*cells, style="bold" if row.chosen else None, end_section=row.ends_group)
    return grid


def told(word: str, texts: Sequence[str], style: str = "") -> Iterator[Text]:
    """One line for each sentence, prefixed with its severity."""
    for text in texts:
        yield Text(f"{word}: {w.plain(text)}", style)


@dataclass(frozen=True)
class _Rendered:
    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield _verdict(self.report)
        yield from told("warning", alarms(self.report), "bold red")
        yield drawn(files_table(self.report), wide=options.max_width >= WIDE)
        for device in self.report.devices:
            yield from _device(self.report, device)
        yield from told("note", self.report.notes)


def _verdict(report: Report) -> Text:
    model, verdict = recommended_of(report), report.verdict
    file = w.plain(f"{model.id} ({model.file})" if model else report.recommended)
    badge = (verdict.outcome.upper(), f"bold {COLOURS[verdict.outcome]}")
    return Text.assemble(badge, "  ", (file, "bold"), f" is {role_of(report)}: {w.plain(verdict.reason)}")


def _device(report: Report, device: DeviceReport) -> Iterator[RenderableType]:
    """One device: what it is, its table, its warnings."""
    facts = ", ".join(f"{name} {value}" for name, value in device_facts(device).items())
    yield Text.assemble(("on " + w.plain(device.name), "bold"), f": {w.plain(facts)}")
    yield drawn(device_table(report, device), wide=True)
    yield Text(w.plain(device.selftest))
    yield from told("warning", device_warnings(device), "bold yellow")


def _text(cell: Cell, indent: str = "") -> Text:
    """A cell's lines, those below the first one indented."""
    # Text objects, not markup: a class may be called [bold].
    return Text(f"\n{indent}").join(Text(_plain(line.text), _STYLES.get(line.look, "")) for line in cell)


def _named(row: Row) -> Text:
    return _text(row.cells[0] if row.tag is None else (*row.cells[0], row.tag))


def _marked(row: Row) -> Text:
    text = Text.assemble("> " if row.chosen else "  ", _text(row.cells[0], "  "))
    if row.chosen:
        text.stylize(COLOURS[row.chosen], 0, len(row.cells[0][0].text) + 2)
    return text


def _plain(text: str) -> str:
    """Plain text with hyphens for minus signs, so that figures can be copied."""
    return w.plain(text).replace("−", "-")
