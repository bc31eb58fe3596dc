"""The Pareto front of files: no other is as good in all of accuracy on val, bytes and latency, and better in one."""

from collections.abc import Sequence
from typing import TypeVar

from edgekd.report.compare.pareto import Point, better
from edgekd.report.search.schema import Contender

Named = TypeVar("Named")


def unbeaten(files: Sequence[tuple[Named, Contender]]) -> list[Named]:
    """The names of the files that no other beats, the fastest first; of files that are the same one the first alone.

    Args:
        files: a name for each.
    """
    points = [point_of(file) for _, file in files]
    kept = [
        number
        for number, point in enumerate(points)
        if not any(better(other, point) for other in points) and point not in points[:number]
    ]
    return [files[number][0] for number in sorted(kept, key=lambda number: points[number].latency_ms)]


def point_of(file: Contender) -> Point:
    """Accuracy on val, bytes, and latency as a share of the teacher's."""
    return Point(file.accuracy, file.size_bytes, file.latency_ratio.ratio)
