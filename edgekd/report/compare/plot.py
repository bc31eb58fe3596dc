"""Runs as points: accuracy against what it costs, with the front that no other run beats."""

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from edgekd.report.compare.comparison import RunFacts
from edgekd.report.compare.pareto import front
from edgekd.report.page.plot_labels import place_labels
from edgekd.report.page.svg import PERCENT, lowest_drawn, shortened, svg
from edgekd.report.wording import percent

ON_FRONT, BEHIND = "#0f766e", "#64748b"
WIDTH_INCHES, HEIGHT_INCHES = 7.0, 4.2
"""About half a page's width, so that text keeps its size."""
AREA = 110.0


def cost_plot(title: str, runs: Sequence[RunFacts], costs: Sequence[float], unit: str) -> str:
    """Accuracy, with 95 % intervals, against one cost.

    Args:
        title: of the plot, its own on the page.
        runs: that saw the same images.
        costs: of each run, low is good.
        unit: what the horizontal axis says.
    """
    floor = lowest_drawn([(run.accuracy, run.accuracy_ci95[0]) for run in runs])
    heights = [max(run.accuracy, floor) for run in runs]
    best = front([(cost, run.accuracy) for cost, run in zip(costs, runs, strict=True)])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, run in enumerate(runs):
            _point(axes, run, costs[index], floor, on_front=index in best)
        axes.set_xlim(0, 1.18 * (max(costs) or 1))
        axes.margins(y=0.16)
        axes.set_xlabel(unit)
        axes.set_ylabel("test accuracy, %")
        axes.yaxis.set_major_formatter(PERCENT)
        corners = _front_line(axes, [(costs[index], heights[index]) for index in best])
        bars = [(max(run.accuracy_ci95[0], floor), max(run.accuracy_ci95[1], floor)) for run in runs]
        labels = [_label(run, floor) for run in runs]
        bold = [index in best for index in range(len(runs))]
        places = list(zip(costs, heights, strict=True))
        place_labels(axes, places, [AREA] * len(runs), bars, labels, bold, corners)

    return svg(title, HEIGHT_INCHES, draw, WIDTH_INCHES)


def _point(axes: Any, run: RunFacts, cost: float, floor: float, on_front: bool) -> None:
    colour = ON_FRONT if on_front else BEHIND
    if run.accuracy < floor:
        axes.scatter([cost], [floor], s=AREA, marker="v", color=colour, zorder=4)
        return
    below, above = max(run.accuracy - run.accuracy_ci95[0], 0), max(run.accuracy_ci95[1] - run.accuracy, 0)
    axes.errorbar(
        [cost], [run.accuracy], [[below], [above]], color=colour, alpha=0.55, linewidth=1.2, capsize=3, zorder=2
    )
    face = colour if on_front else "white"
    axes.scatter([cost], [run.accuracy], s=AREA, facecolor=face, edgecolor=colour, linewidth=1.6, zorder=4)


def _front_line(axes: Any, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """From point to point in steps, whose corners it gives: whatever lies below and to the right is beaten."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    levels = [bottom, *(y for _, y in points)]
    corners = [(x, y) for (x, _), two in zip(points, itertools.pairwise(levels), strict=True) for y in two]
    corners.append((right, levels[-1]))
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, color=ON_FRONT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.fill_between(xs, ys, bottom, color=ON_FRONT, alpha=0.06, linewidth=0, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    return corners


def _label(run: RunFacts, floor: float) -> str:
    name = shortened(run.name)
    return name if run.accuracy >= floor else f"{name}, off the scale at {percent(run.accuracy)}"
