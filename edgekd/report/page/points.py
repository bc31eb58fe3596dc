"""Points in a plot of accuracy against cost, each with a colour of its own and a legend entry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.report.page.svg import INK, PERCENT
from edgekd.report.wording import percent

COLOURS = (
    "#7c8a9a",
    "#3b6fb6",
    "#d97706",
    "#0f766e",
    "#a21caf",
    "#be123c",
    "#65a30d",
    "#0891b2",
    "#7c3aed",
    "#92400e",
)
MARKERS = "osDP"
_LEGEND_AREA = 70.0


@dataclass(frozen=True)
class Point:
    """A file, or a run.

    Args:
        number: decides colour and marker.
        area: of the marker, in points squared.
        stressed: emphasised in plot and legend.
    """

    number: int
    label: str
    cost: float
    accuracy: float
    ci95: tuple[float, float]
    area: float
    stressed: bool


def draw_points(axes: Any, points: Sequence[Point], unit: str) -> None:
    """All points with their 95 % intervals, on axes from cost 0 on.

    Args:
        axes: of matplotlib.
        points: at least one.
        unit: what the horizontal axis says.
    """
    floor = lowest_drawn(points)
    for point in points:
        if point.accuracy < floor:
            _draw_off_the_scale(axes, point, floor)
        else:
            _draw(axes, point)
    # ``or 1``: matplotlib warns about equal limits.
    axes.set_xlim(0, 1.1 * (max(point.cost for point in points) or 1))
    axes.margins(y=0.1)
    axes.set_xlabel(unit)
    axes.set_ylabel("test accuracy, %")
    axes.yaxis.set_major_formatter(PERCENT)


def draw_legend(axes: Any, points: Sequence[Point], **place: Any) -> None:
    """Every point's name, outside the plot, in the order of the points; ``place`` as ``Axes.legend`` takes it."""
    legend = axes.legend(borderaxespad=0, handletextpad=0.3, **place)
    for handle, text, point in zip(legend.legend_handles, legend.get_texts(), points, strict=True):
        # Equal in the legend: in the plot a marker can be larger than a line of text.
        handle.set_sizes([_LEGEND_AREA])
        text.set_fontweight("bold" if point.stressed else "normal")


def lowest_drawn(points: Sequence[Point]) -> float:
    """The lowest accuracy drawn to scale: one broken file must not flatten the differences between the others."""
    best = max(point.accuracy for point in points)
    return min(point.ci95[0] for point in points if point.accuracy > best - 0.2)


def _draw(axes: Any, point: Point) -> None:
    x, y, colour = point.cost, point.accuracy, _colour(point)
    bar = [[max(y - point.ci95[0], 0)], [max(point.ci95[1] - y, 0)]]
    axes.errorbar([x], [y], bar, color=colour, alpha=0.55, linewidth=1.2, capsize=3, zorder=2)
    order = 5 if point.stressed else 4
    dots = axes.scatter([x], [y], s=point.area, marker=_marker(point), zorder=order, label=point.label)
    dots.set(facecolor=(colour, 1.0 if point.stressed else 0.6), edgecolor=INK if point.stressed else colour)
    dots.set(linewidth=1.8 if point.stressed else 1)


def _draw_off_the_scale(axes: Any, point: Point, floor: float) -> None:
    label = f"{point.label}, off the scale at {percent(point.accuracy)}"
    axes.scatter([point.cost], [floor], s=90, marker="v", color=_colour(point), zorder=4, label=label)


def _colour(point: Point) -> str:
    return COLOURS[point.number % len(COLOURS)]


def _marker(point: Point) -> str:
    return MARKERS[point.number // len(COLOURS) % len(MARKERS)]
