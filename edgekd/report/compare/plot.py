"""Runs as points: accuracy against cost, with the Pareto front."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from edgekd.report.compare.comparable import the_place
from edgekd.report.compare.comparison import Comparison, RunFacts
from edgekd.report.compare.pareto import front
from edgekd.report.compare.wording import conditions_words, images_words
from edgekd.report.page.points import Point, draw_legend, draw_points
from edgekd.report.page.svg import shortened, svg

FRONT = "#0f766e"
WIDTH_INCHES, HEIGHT_INCHES = 7.0, 4.0
"""About half a page's width, so that text keeps its size; the legend needs more height."""
LEGEND_COLUMNS, LEGEND_ROW_INCHES = 2, 0.25
AREA = 110.0
_Numbered = Sequence[tuple[int, RunFacts]]
"""Runs with their place in the comparison, which decides their colour in every plot."""


@dataclass(frozen=True)
class Cloud:
    """Runs that can be drawn in one plot, with their costs."""

    title: str
    detail: str
    points: Sequence[Point]
    unit: str


def clouds(comparison: Comparison) -> Iterator[Cloud]:
    """Size for all runs on the same images, latency for those of them that were measured alike."""
    several = len({run.test_group for run in comparison.runs}) > 1
    numbered = list(enumerate(comparison.runs))
    for same in _together(numbered, lambda run: run.test_group):
        images = f"{images_words(same[0][1])}; " if several else ""
        sizes = _points(same, lambda run: run.size_bytes / 1000)
        yield Cloud("Size", f"{images}runs on the same test images", sizes, "size, kB")
        for place in comparison.places:
            there = [(number, run) for number, run in same if place in run.latencies]
            for alike in _together(there, lambda run, place=place: run.latencies[place].group):  # type: ignore[misc]
                detail = conditions_words(alike[0][1].latencies[place].conditions)
                points = _points(alike, lambda run, place=place: run.latencies[place].latency_ms.p50)  # type: ignore[misc]
                yield Cloud(f"Latency on {the_place(place)}", f"{images}{detail}", points, "latency p50, ms")


def _together(runs: _Numbered, group: Callable[[RunFacts], int]) -> list[list[tuple[int, RunFacts]]]:
    """Groups of two or more."""
    groups: dict[int, list[tuple[int, RunFacts]]] = {}
    for number, run in runs:
        groups.setdefault(group(run), []).append((number, run))
    return [found for found in groups.values() if len(found) > 1]


def _points(runs: _Numbered, cost: Callable[[RunFacts], float]) -> list[Point]:
    best = front([(cost(run), run.accuracy) for _, run in runs])
    return [
        Point(number, shortened(run.name), cost(run), run.accuracy, run.accuracy_ci95, AREA, stressed=index in best)
        for index, (number, run) in enumerate(runs)
    ]


def cost_plot(cloud: Cloud) -> Markup:
    """Accuracy, with 95 % intervals, against one cost."""
    rows = -(-len(cloud.points) // LEGEND_COLUMNS)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_points(axes, cloud.points, cloud.unit)
        _draw_front(axes, sorted((point.cost, point.accuracy) for point in cloud.points if point.stressed))
        place = {"loc": "upper left", "bbox_to_anchor": (0, -0.2), "ncols": LEGEND_COLUMNS}
        draw_legend(axes, cloud.points, **place)

    height = HEIGHT_INCHES + LEGEND_ROW_INCHES * rows
    return svg(f"{cloud.title}, {cloud.detail}", height, draw, WIDTH_INCHES)


def _draw_front(axes: Any, points: Sequence[tuple[float, float]]) -> None:
    """Draw the front in steps: everything below and to the right of it is beaten."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    levels = [bottom, *(max(accuracy, bottom) for _, accuracy in points)]
    corners = [(x, y) for (x, _), two in zip(points, itertools.pairwise(levels), strict=True) for y in two]
    xs, ys = zip(*corners, (right, levels[-1]), strict=True)
    axes.plot(xs, ys, color=FRONT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.fill_between(xs, ys, bottom, color=FRONT, alpha=0.06, linewidth=0, zorder=0)
    # The lines must not change the limits that the points have set.
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
