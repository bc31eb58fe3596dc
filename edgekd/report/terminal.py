"""The report in a terminal: the verdict, one row per exported file, the notes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd.report import wording as w
from edgekd.report.alarms import alarms
from edgekd.report.devices import device_facts, device_warnings, relative_words
from edgekd.report.roles import balanced_of, faster_float_than, recommended_of, role_of, teacher_of
from edgekd.report.schema import DeviceModel, DeviceReport, ModelReport, Outcome, Report

_COLOURS: Mapping[Outcome, str] = {"pass": "green", "fail": "red", "no budget": "cyan"}
WIDE = 104  # columns of text from which on every figure fits


def render_table(report: Report) -> RenderableType:
    """The verdict on the first line, then a table as wide as the console allows, then one line for each note."""
    return _Rendered(report)


def new_table(padding: int = 2) -> Table:
    """The look of every table in a terminal."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, padding, 0, 0))


def two_lines(first: Text, second: str) -> Text:
    """A cell: the figure, and what belongs to it in grey below."""
    return Text.assemble(first, "\n", (second, "not bold dim")) if second else first


@dataclass(frozen=True)
class _Rendered:
    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield _verdict(self.report)
        for alarm in alarms(self.report):
            yield Text(f"warning: {w.plain(alarm)}", "bold red")
        yield _table(self.report, wide=options.max_width >= WIDE)
        for device in self.report.devices:
            yield from _device(self.report, device)
        for note in self.report.notes:
            yield Text(f"note: {w.plain(note)}")


def _verdict(report: Report) -> Text:
    model, verdict = recommended_of(report), report.verdict
    file = w.plain(f"{model.id} ({model.file})" if model else report.recommended)
    badge = (verdict.outcome.upper(), f"bold {_COLOURS[verdict.outcome]}")
    return Text.assemble(badge, "  ", (file, "bold"), f" is {role_of(report)}: {w.plain(verdict.reason)}")


def _table(report: Report, wide: bool) -> Table:
    columns = [column for column in _COLUMNS if wide or column.always]
    table = new_table(2 if wide else 1)
    for column in columns:
        table.add_column(
            two_lines(Text(column.title), column.detail),
            overflow="fold",
            justify=column.justify,
            min_width=column.width,
        )
    for model in report.models:
        chosen = model.id == report.recommended
        table.add_row(*(column.cell(report, model) for column in columns), style="bold" if chosen else None)
    return table


def render_device(report: Report, device: DeviceReport) -> RenderableType:
    """What one device measured."""
    return Group(*_device(report, device))


def _device(report: Report, device: DeviceReport) -> Iterator[RenderableType]:
    """One device: what it is, its table, its warnings."""
    facts = ", ".join(f"{name} {value}" for name, value in device_facts(device).items())
    yield Text.assemble(("on " + w.plain(device.name), "bold"), f": {w.plain(facts)}")
    table = new_table()
    for title in ("model", "p50, ms", "p90, ms", "p99, ms", "ratio [95 %]"):
        table.add_column(title, justify="left" if title == "model" else "right", overflow="fold")
    for model in device.models:
        latency = model.latency_ms
        figures = (w.milliseconds(value) for value in (latency.p50, latency.p90, latency.p99))
        table.add_row(Text(w.plain(model.id)), *figures, _relative(report, model))
    yield table
    yield Text(w.plain(device.selftest))
    for warning in device_warnings(device):
        yield Text(f"warning: {w.plain(warning)}", "bold yellow")


def _relative(report: Report, model: DeviceModel) -> Text:
    teacher = teacher_of(report)
    if teacher is not None and model.id == teacher.id:
        return Text(w.ratio(1.0))
    return two_lines(Text(relative_words(model)), "" if model.latency_ratio.measured else w.NO_DIFFERENCE)


def _model(report: Report, model: ModelReport) -> Text:
    chosen = model.id == report.recommended
    style = _COLOURS[report.verdict.outcome] if chosen else ""
    return two_lines(Text(f"{'>' if chosen else ' '} {w.plain(model.id)}", style), f"  {w.plain(w.numbers_of(model))}")


def _accuracy(report: Report, model: ModelReport) -> Text:
    balanced = balanced_of(report, model)
    further = "" if balanced is None else f"\nbalanced {w.percent(balanced)}"
    return two_lines(Text(w.percent(model.accuracy)), f"{w.percent_interval(model.accuracy_ci95)}{further}")


def _drop(report: Report, model: ModelReport) -> Text:
    if model == teacher_of(report):
        return Text("teacher")
    interval = "" if model.accuracy_drop_ci95 is None else f"{w.points_interval(model.accuracy_drop_ci95)}\n"
    return two_lines(Text(w.points(model.accuracy_drop)), f"{interval}{w.p_value(model.paired.p_value)}")


def _size(_: Report, model: ModelReport) -> Text:
    return two_lines(Text(w.kilobytes(model.size_bytes)), w.ratio(model.size_ratio))


def _latency(report: Report, model: ModelReport) -> Text:
    p50 = Text(w.milliseconds(model.latency_ms.p50))
    if model == teacher_of(report):
        return two_lines(p50, w.ratio(1.0))
    relative = f"{w.ratio(model.latency_ratio.ratio)} {w.ratio_interval(model.latency_ratio)}"
    cell = two_lines(p50, relative if model.latency_ratio.measured else f"{relative}\n{w.NO_DIFFERENCE}")
    slower_than = faster_float_than(report, model)
    return cell.append(f"\nslower than {w.plain(slower_than.id)}", "yellow") if slower_than else cell


def _work(_: Report, model: ModelReport) -> Text:
    return two_lines(Text(w.count(model.macs)), w.count(model.params))


def _kernels(_: Report, model: ModelReport) -> Text:
    return Text(f"{model.kernels.integer} / {model.kernels.float}")


def _agreement(_: Report, model: ModelReport) -> Text:
    return Text(w.percent(model.agreement))


@dataclass(frozen=True)
class _Column:
    title: str
    detail: str
    cell: Callable[[Report, ModelReport], Text]
    always: bool = True
    justify: Literal["left", "right"] = "left"
    width: int | None = None


_COLUMNS = (
    _Column("model", "  precision", _model),
    _Column("accuracy", "[95 %]", _accuracy),
    _Column("drop, pts", "[95 %]\nMcNemar p", _drop),
    _Column("size, kB", "ratio", _size, justify="right"),
    _Column("p50, ms", "ratio [95 %]", _latency, width=len("0.33 [0.32, 0.34]")),
    _Column("MACs", "params", _work, always=False, justify="right"),
    _Column("kernels", "int/float", _kernels),
    _Column("agreement", "torch = ORT", _agreement, always=False),
)
