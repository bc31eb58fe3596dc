"""The report's plots, each a string of inline SVG: same report, same bytes."""

import math
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgekd.report.page.points import Point, draw_legend, draw_points
from edgekd.report.page.svg import MUTED, PERCENT, shortened, svg
from edgekd.report.roles import recommended_of, teacher_of
from edgekd.report.schema import ModelReport, Quantization, Report
from edgekd.report.stage_report import LayerWidth, StageReport
from edgekd.report.wording import kilobytes, percent, plain

TEACHER, FLOAT, INTEGER, BEST = "#475569", "#3b6fb6", "#0f766e", "#b45309"
PARTS = ("#1b2733", "#3b6fb6", "#d97706", "#0f766e", "#a21caf", "#64748b", "#be123c", "#4d7c0f")
MOST_CLASSES = 40
ROWS_OF_ONE_PANEL = 16


def accuracy_latency_plot(report: Report) -> Markup:
    """Accuracy against latency of every file: error bars are 95 % intervals, areas are bytes."""
    largest = max(model.size_bytes for model in report.models)
    points = [
        Point(
            number,
            f"{shortened(model.id)}, {kilobytes(model.size_bytes)} kB, {shortened(model.precision)}",
            model.latency_ms.p50,
            model.accuracy,
            model.accuracy_ci95,
            # Proportional to the bytes, but the marker of a tiny file must stay visible.
            max(1500 * model.size_bytes / largest, 40),
            stressed=model.id == report.recommended,
        )
        for number, model in enumerate(report.models)
    ]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_points(axes, points, "latency p50, ms")
        draw_legend(axes, points, loc="upper left", bbox_to_anchor=(1.01, 1))

    return svg("accuracy against latency", 5.2, draw)


def training_plot(stage: StageReport) -> Markup:
    """The loss and its parts on one axis, validation accuracy on the other; the best epoch is marked on both."""

    def draw(figure: Figure) -> None:
        losses, accuracy = figure.subplots(1, 2)
        epochs = [epoch.epoch for epoch in stage.epochs]
        parts = list(dict.fromkeys(part for epoch in stage.epochs for part in epoch.losses))
        for index, part in enumerate(parts):
            values = [epoch.losses.get(part, math.nan) for epoch in stage.epochs]
            _line(losses, epochs, values, PARTS[index % len(PARTS)], plain(part))
        _line(accuracy, epochs, [epoch.val_accuracy for epoch in stage.epochs], INTEGER, "validation accuracy, %")
        accuracy.yaxis.set_major_formatter(PERCENT)
        losses.set_title("training loss")
        accuracy.set_title("validation accuracy, %")
        if len(parts) > 1:
            losses.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=len(parts))
        _mark_best(losses, accuracy, stage)

    return svg(f"training of {stage.id}", 2.9, draw)


def widths_plot(stage: StageReport) -> Markup:
    """Channels of each layer before (light) and after (dark) pruning."""
    panels = 1 if len(stage.widths) <= ROWS_OF_ONE_PANEL else 2
    rows = math.ceil(len(stage.widths) / panels)

    def draw(figure: Figure) -> None:
        widest = max(width.before for width in stage.widths)
        for index, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
            _width_bars(axes, stage.widths[index * rows : (index + 1) * rows], rows)
            axes.set_xlim(0, 1.2 * widest)

    return svg(f"channels before and after {stage.id}", 0.5 + 0.27 * rows, draw)


def per_class_plot(report: Report) -> Markup:
    """Accuracy of the teacher and of the recommended file, class by class; of many classes those that differ most."""
    teacher, recommended = teacher_of(report), recommended_of(report)
    if teacher is None or recommended is None:
        return Markup()
    rows = _class_rows(report, teacher, recommended)
    if not rows:
        return Markup()

    def draw(figure: Figure) -> None:
        axes, heights = figure.subplots(), list(range(len(rows)))
        befores, afters = [row[1] for row in rows], [row[2] for row in rows]
        axes.hlines(heights, befores, afters, color="#c3ccd5", linewidth=3, zorder=2)
        if recommended != teacher:
            rings = axes.scatter(befores, heights, s=70, zorder=3, label=shortened(teacher.id))
            rings.set(facecolor="white", edgecolor=TEACHER, linewidth=1.6)
        axes.scatter(afters, heights, s=34, color=INTEGER, zorder=4, label=shortened(recommended.id))
        axes.set_yticks(heights, [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("test accuracy, %")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handletextpad=0.2)

    return svg("accuracy of each class", 1.0 + 0.27 * len(rows), draw)


def sensitivity_plot(facts: Quantization) -> Markup:
    """What each layer loses with few bits, in the order of the forward pass; what the mix gave it as a ring."""
    layers = facts.layers

    def draw(figure: Figure) -> None:
        axes, heights = figure.subplots(), list(range(len(layers)))
        for bits, colour in zip((4, 3, 2), (FLOAT, INTEGER, BEST), strict=True):
            losses = [layer.loss[bits] for layer in layers]
            axes.scatter(losses, heights, s=30, color=colour, zorder=3, label=f"{bits} bits")
        losses = [layer.loss.get(layer.bits, 0.0) for layer in layers]
        taken = axes.scatter(losses, heights, s=90, zorder=4, label="taken")
        taken.set(facecolor="none", edgecolor="#111", linewidth=1.4)
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        axes.set_yticks(heights, [shortened(layer.layer) for layer in layers])
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.set_xlabel("rise of the cross-entropy on validation images, nats")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, handletextpad=0.2)

    return svg("sensitivity of the layers to few bits", 1.0 + 0.24 * len(layers), draw)


def _class_rows(report: Report, teacher: ModelReport, recommended: ModelReport) -> list[tuple[str, float, float]]:
    """Name, the teacher's accuracy, the recommended file's; classes without test images left out."""
    pairs = zip(report.data.class_names, teacher.per_class_accuracy, recommended.per_class_accuracy, strict=True)
    rows = [
        (shortened(name), before, after) for name, before, after in pairs if before is not None and after is not None
    ]
    kept = sorted(range(len(rows)), key=lambda row: -abs(rows[row][1] - rows[row][2]))[:MOST_CLASSES]
    return [rows[row] for row in sorted(kept)]


def _line(axes: Any, epochs: list[int], values: list[float], colour: str, label: str) -> None:
    axes.plot(epochs, values, color=colour, linewidth=1.8, label=label, marker="o", markersize=3.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _mark_best(losses: Any, accuracy: Any, stage: StageReport) -> None:
    best = next((epoch for epoch in stage.epochs if epoch.epoch == stage.best_epoch), None)
    if best is None:
        return
    for axes in (losses, accuracy):
        axes.axvline(best.epoch, color=BEST, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    # The text goes towards the middle, so that it stays inside the axes.
    early = best.epoch <= (stage.epochs[0].epoch + stage.epochs[-1].epoch) / 2
    accuracy.annotate(
        f"best: epoch {best.epoch}, {percent(best.val_accuracy)}",
        (best.epoch, 0.05),
        xycoords=("data", "axes fraction"),
        xytext=(6 if early else -6, 0),
        textcoords="offset points",
        ha="left" if early else "right",
        color=BEST,
    )


def _width_bars(axes: Any, widths: list[LayerWidth], rows: int) -> None:
    heights = list(range(len(widths)))
    axes.barh(heights, [width.before for width in widths], color="#d5dde5", height=0.66)
    axes.barh(heights, [width.after for width in widths], color=FLOAT, height=0.66)
    for height, width in zip(heights, widths, strict=True):
        text = f"{width.before} → {width.after}" if width.before != width.after else f"{width.after} kept"
        axes.annotate(
            text, (width.before, height), (5, 0), textcoords="offset points", va="center", fontsize=10, color=MUTED
        )
    axes.set_yticks(heights, [shortened(width.layer) for width in widths], fontsize=10)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("channels")
