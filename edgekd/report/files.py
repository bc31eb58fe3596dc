"""The exported files' table: one row each, every figure against the teacher's."""

from collections.abc import Callable

from edgekd.report import wording as w
from edgekd.report.roles import balanced_of, chosen_outcome, faster_float_than, role_of, teacher_of
from edgekd.report.schema import ModelReport, Report
from edgekd.report.table import Cell, Column, Line, Row, Table, cell, figures, words


def files_table(report: Report) -> Table:
    """A row for each exported file; the chosen one is tagged with its role."""
    tag = Line(role_of(report), "warn" if report.verdict.outcome == "fail" else "pass")
    rows = [
        Row(
            [make(report, model) for _, make in _COLUMNS],
            tag=tag if model.id == report.recommended else None,
            chosen=chosen_outcome(report, model.id),
        )
        for model in report.models
    ]
    return Table([column for column, _ in _COLUMNS], rows)


def _model(_: Report, model: ModelReport) -> Cell:
    return cell(Line(model.id, "strong"), w.numbers_of(model))


def _accuracy(report: Report, model: ModelReport) -> Cell:
    balanced = balanced_of(report, model)
    further = "" if balanced is None else f"balanced {w.percent(balanced)}"
    return cell(w.percent(model.accuracy), w.percent_interval(model.accuracy_ci95), further)


def _drop(report: Report, model: ModelReport) -> Cell:
    if model == teacher_of(report):
        return cell(Line("teacher", "muted"))
    interval = "" if model.accuracy_drop_ci95 is None else w.minus(w.points_interval(model.accuracy_drop_ci95))
    on_val = "" if model.val_paired is None else f", on val {w.minus(w.points(model.val_paired.drop))}"
    return cell(
        w.minus(w.points(model.accuracy_drop)), interval, Line(w.p_value(model.paired.p_value), "small", aside=on_val)
    )


def _size(_: Report, model: ModelReport) -> Cell:
    memory = "" if model.peak_rss_bytes is None else f", {model.peak_rss_bytes / 1e6:,.0f} MB"
    opens = "" if model.load_ms is None else f"opens in {model.load_ms:,.0f} ms{memory}"
    return cell(w.kilobytes(model.size_bytes), w.ratio(model.size_ratio), Line("", "small", aside=opens))


def _latency(report: Report, model: ModelReport) -> Cell:
    p50, relative = w.milliseconds(model.latency_ms.p50), model.latency_ratio
    if model == teacher_of(report):
        return cell(p50, w.ratio(1.0))
    faster = faster_float_than(report, model)
    slow = "" if faster is None else Line(f"slower than {faster.id}", "warn")
    return cell(p50, w.ratio_with_interval(relative), "" if relative.measured else w.NO_DIFFERENCE, slow)


def _work(_: Report, model: ModelReport) -> Cell:
    return cell(w.count(model.macs), w.count(model.params))


def _kernels(_: Report, model: ModelReport) -> Cell:
    return cell(f"{model.kernels.integer} / {model.kernels.float}")


def _agreement(_: Report, model: ModelReport) -> Cell:
    return cell(w.percent(model.agreement))


_COLUMNS: tuple[tuple[Column, Callable[[Report, ModelReport], Cell]], ...] = (
    (words("model", "precision"), _model),
    (figures("accuracy", "[95 %]"), _accuracy),
    (figures("drop, points", "[95 %]", Line("McNemar p", "small", aside=", on val")), _drop),
    (figures("size, kB", "ratio"), _size),
    # An interval that is wrapped onto a second line is hard to read.
    (figures("p50, ms", "ratio [95 %]", narrowest=len("0.33 [0.32, 0.34]")), _latency),
    (figures("MACs", "params", always=False), _work),
    (figures("kernels", "int/float"), _kernels),
    (figures("agreement", "torch = ONNX", always=False), _agreement),
)
