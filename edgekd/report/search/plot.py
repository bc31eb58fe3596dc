"""The picture of a front: accuracy against latency, bytes as the area of a dot."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from edgekd.report import wording as w
from edgekd.report.page.svg import INK, MUTED, PERCENT, svg
from edgekd.report.search.schema import Contender, Front, Standing
from edgekd.training.significance import wilson_interval

FRONT, BEST, OTHERS = "#0f766e", "#d97706", "#b8c2cc"
HEIGHT_INCHES = 5.2
LARGEST_AREA = 700.0
"""Of the largest file's dot, in points squared."""


def front_plot(front: Front) -> Markup:
    """Every measured trial; those measured together with the 95 % interval of their accuracy and their number."""
    title = "Accuracy on val against latency, bytes as area"
    return svg(title, HEIGHT_INCHES, lambda figure: _draw(figure, front))


def _draw(figure: Figure, front: Front) -> None:
    axes = figure.subplots()
    together = [standing.trial for standing in front.standings]
    others = [trial.contender for trial in front.trials if trial.contender and trial.number not in together]
    drawn = [*others, *(standing.contender for standing in front.standings)]
    largest = max(file.size_bytes for file in drawn)
    _dots(axes, others, largest, label="other trials", color=OTHERS, zorder=2)
    for standing in front.standings:
        _standing(axes, front, standing, largest)
    _limits(axes, front)
    axes.set_xlim(0, 1.08 * max(file.latency_ratio.ratio for file in drawn))
    _set_bottom(axes, front, drawn)
    axes.set_xlabel("latency p50, of the teacher's")
    axes.set_ylabel("val accuracy, %")
    axes.yaxis.set_major_formatter(PERCENT)
    _legend(axes, largest)


def _dots(axes: Any, files: Sequence[Contender], largest: int, *, label: str, color: str, zorder: int) -> None:
    areas = [LARGEST_AREA * file.size_bytes / largest for file in files]
    xs, ys = [file.latency_ratio.ratio for file in files], [file.accuracy for file in files]
    axes.scatter(xs, ys, s=areas, color=color, alpha=0.55, label=label, zorder=zorder, edgecolor="white")


def _standing(axes: Any, front: Front, standing: Standing, largest: int) -> None:
    file = standing.contender
    best = standing.trial == front.best
    color, label = (BEST, "best") if best else (FRONT, "on the front") if standing.on_front else (MUTED, "measured too")
    low, high = wilson_interval(file.val_paired.both + file.val_paired.only_model, file.val_paired.total)
    x, y = file.latency_ratio.ratio, file.accuracy
    bar = [[max(y - low, 0)], [max(high - y, 0)]]
    axes.errorbar([x], [y], bar, color=color, alpha=0.45, linewidth=1.2, capsize=3, zorder=3)
    _dots(axes, [file], largest, label=label, color=color, zorder=5 if best else 4)
    own = front.against_file is not None and standing.trial == front.against_file.trial
    text = f"{standing.trial}, the file as it is" if own else str(standing.trial)
    axes.annotate(text, (x, y), (10, 8), textcoords="offset points", color=INK, zorder=6)


def _limits(axes: Any, front: Front) -> None:
    """The budget's limits on accuracy and latency, and the teacher's accuracy."""
    line = {"color": MUTED, "linewidth": 1, "zorder": 1}
    axes.axhline(front.teacher.val_accuracy, linestyle=":", label="accuracy of the teacher", **line)
    drop = front.budget.get("accuracy_drop")
    if drop is not None:
        axes.axhline(front.teacher.val_accuracy - drop, linestyle="--", label="budget", **line)
    if (latency := front.budget.get("latency_ratio")) is not None:
        axes.axvline(latency, linestyle="--", label="budget", **line)


def _set_bottom(axes: Any, front: Front, drawn: Sequence[Contender]) -> None:
    """Let one broken file not flatten the differences between the others: what lies far below is cut off."""
    best = max(file.accuracy for file in drawn)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, best - 0.2), top)


def _legend(axes: Any, largest: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    first = dict(reversed(list(zip(labels, handles, strict=True))))
    shown = {label: first[label] for label in dict.fromkeys(labels)}
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0}
    legend = axes.legend(shown.values(), shown.keys(), title=f"largest dot: {w.kilobytes(largest)} kB", **place)
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([60.0])
