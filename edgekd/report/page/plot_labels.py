"""Labels beside points, placed so that they cover neither one another nor a point."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

_ANGLES = (0, 180, 45, 315, 135, 225, 90, 270)
_RINGS = (6, 20, 36, 54, 76, 100)
_WITHOUT_LINE = _RINGS[1]
"""As far as a label may stand from its point without a line that leads there."""
_MISLEADING = _RINGS[-1]
"""Cost of a label that another point stands between or nearer to: any free place is better."""
Place = tuple[float, float]


def place_labels(
    axes: Any,
    places: list[Place],
    areas: list[float],
    bars: list[Place],
    texts: list[str],
    bold: list[bool],
    corners: list[Place] | None = None,
) -> None:
    """Write one text beside each point; a thin line leads to those that had to move away.

    Args:
        axes: with everything else drawn already.
        places: the points, in data coordinates.
        areas: of their markers, in points squared.
        bars: lower and upper end of each point's error bar, in data coordinates.
        texts: one label for each point.
        bold: which of them to emphasise.
        corners: of a line of level and upright pieces that is kept free too, in data coordinates.
    """
    FigureCanvasAgg(axes.figure)
    axes.figure.draw_without_rendering()
    centres = [tuple(axes.transData.transform(place)) for place in places]
    radii = [math.sqrt(area / math.pi) for area in areas]
    taken = [_box(x - r, y - r, 2 * r, 2 * r) for (x, y), r in zip(centres, radii, strict=True)]
    taken += [_bar(axes, place[0], bar) for place, bar in zip(places, bars, strict=True)]
    taken += _pieces(axes, corners or [])
    for index in sorted(range(len(places)), key=lambda point: not bold[point]):
        size = _text_size(axes, texts[index], bold[index])
        candidates = _candidates(centres[index], radii[index], *size)
        others = [(centres[other], radii[other]) for other in range(len(places)) if other != index]
        costs = [
            (_cost(candidate, taken, axes.bbox) + _misleading(candidate, centres[index], others), candidate)
            for candidate in candidates
        ]
        _, (box, ring) = min(costs, key=lambda cost: cost[0])
        taken.append(box)
        _write(axes, places[index], centres[index], box, texts[index], bold[index], leader=ring > _WITHOUT_LINE)


def _text_size(axes: Any, text: str, bold: bool) -> tuple[float, float]:
    label = axes.annotate(text, (0, 0), xycoords="axes fraction", fontweight="bold" if bold else "normal")
    extent = label.get_window_extent(axes.figure.canvas.get_renderer())
    label.remove()
    return extent.width, extent.height


def _candidates(centre: Place, radius: float, width: float, height: float) -> Iterator[tuple[Bbox, float]]:
    for ring in _RINGS:
        for angle in _ANGLES:
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = centre[0] + (radius + ring) * cosine + width * (cosine - 1) / 2
            y = centre[1] + (radius + ring) * sine + height * (sine - 1) / 2
            yield _box(x, y, width, height), ring


def _cost(candidate: tuple[Bbox, float], taken: list[Bbox], inside: Bbox) -> float:
    """Overlap in square pixels weighs far more than distance."""
    box, ring = candidate
    outside = box.width * box.height - _overlap(box, inside)
    return float(10 * (outside + sum(_overlap(box, other) for other in taken)) + ring)


def _misleading(candidate: tuple[Bbox, float], centre: Place, others: list[tuple[Place, float]]) -> float:
    box, ring = candidate
    start = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    between = any(_off_line(start, centre, other) < radius for other, radius in others)
    nearer = any(_distance(box, other) < _distance(box, centre) for other, _ in others)
    return _MISLEADING if between or (nearer and ring <= _WITHOUT_LINE) else 0.0


def _off_line(start: Place, end: Place, point: Place) -> float:
    """How far a point is from a line that ends."""
    along = (end[0] - start[0], end[1] - start[1])
    share = ((point[0] - start[0]) * along[0] + (point[1] - start[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(max(share, 0.0), 1.0)
    return math.hypot(start[0] + share * along[0] - point[0], start[1] + share * along[1] - point[1])


def _distance(box: Bbox, point: Place) -> float:
    across = max(box.x0 - point[0], point[0] - box.x1, 0)
    return math.hypot(across, max(box.y0 - point[1], point[1] - box.y1, 0))


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(float(width), 0) * max(float(height), 0)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x, y, width, height)


def _bar(axes: Any, x: float, ends: Place) -> Bbox:
    (left, bottom), (_, top) = axes.transData.transform([(x, ends[0]), (x, ends[1])])
    return _box(left - 1, bottom, 2, top - bottom)


def _pieces(axes: Any, corners: list[Place]) -> list[Bbox]:
    ends = [tuple(axes.transData.transform(corner)) for corner in corners]
    return [
        _box(min(x, x2) - 1, min(y, y2) - 1, abs(x2 - x) + 2, abs(y2 - y) + 2)
        for (x, y), (x2, y2) in itertools.pairwise(ends)
    ]


def _write(axes: Any, place: Place, centre: Place, box: Bbox, text: str, bold: bool, leader: bool) -> None:
    axes.annotate(
        text,
        place,
        xytext=((box.x0 + box.x1) / 2 - centre[0], (box.y0 + box.y1) / 2 - centre[1]),
        textcoords="offset pixels",
        ha="center",
        va="center",
        zorder=6,
        fontweight="bold" if bold else "normal",
        arrowprops={"arrowstyle": "-", "color": "#94a3b8", "linewidth": 0.8} if leader else None,
    )
