"""A forest plot: each arm's difference with its interval, and a line where there is none."""

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from edgekd.report.ablation.schema import Ablation, Points
from edgekd.report.ablation.wording import points
from edgekd.report.page.svg import INK, MUTED, PERCENT, shortened, svg

BETTER, WORSE, NEITHER = "#0f766e", "#be123c", "#7c8a9a"


def forest_plot(found: Ablation) -> Markup:
    """A row for each arm that was run; nothing where there is none."""
    rows = [(arm.name, arm.change.test) for arm in found.arms if arm.change is not None]
    if not rows:
        return Markup()

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1.0, zorder=1)
        for height, (_, test) in enumerate(rows):
            _draw(axes, height, test)
        axes.set_yticks(range(len(rows)), [shortened(name) for name, _ in rows], color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("percentage points on test, the arm minus the file itself; right of the line the arm is better")

    return svg("what each choice paid", 1.0 + 0.42 * len(rows), draw)


def _draw(axes: Any, height: int, test: Points) -> None:
    (low, high), colour = test.ci95, _colour(test)
    bar = [[max(test.difference - low, 0)], [max(high - test.difference, 0)]]
    axes.errorbar([test.difference], [height], xerr=bar, color=colour, linewidth=2.0, capsize=4, zorder=2)
    axes.scatter([test.difference], [height], s=64, color=colour, zorder=3)
    place = {"xycoords": ("axes fraction", "data"), "xytext": (8, 0), "textcoords": "offset points"}
    axes.annotate(points(test), (1.0, height), va="center", color=colour if test.measured else MUTED, **place)


def _colour(test: Points) -> str:
    if not test.measured:
        return NEITHER
    return BETTER if test.difference > 0 else WORSE
