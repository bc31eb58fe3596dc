"""The Pareto front: points that no other point beats."""

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """Accuracy, to be high, and two costs, to be low."""

    accuracy: float
    size_bytes: float
    latency_ms: float


def better(one: Point, other: Point) -> bool:
    """Is one point nowhere worse than the other, and better in something?

    >>> better(Point(0.9, 10, 1.0), Point(0.9, 10, 1.5)), better(Point(0.9, 10, 1.0), Point(0.9, 10, 1.0))
    (True, False)
    """
    nowhere_worse = (
        one.accuracy >= other.accuracy and one.size_bytes <= other.size_bytes and one.latency_ms <= other.latency_ms
    )
    return nowhere_worse and one != other


def front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats, cheapest first.

    Args:
        costs: (cost, accuracy) of each point.

    >>> front([(2.0, 0.9), (1.0, 0.8), (3.0, 0.85)])
    [1, 0]
    """
    points = [Point(accuracy, cost, 0.0) for cost, accuracy in costs]
    kept = [i for i, point in enumerate(points) if not any(better(other, point) for other in points)]
    return sorted(kept, key=lambda index: costs[index])
