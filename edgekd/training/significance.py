"""Intervals and tests for a measured accuracy, and for the difference of two."""

import math

Z95 = 1.959963984540054
SIGNIFICANT = 0.05
"""Below this p-value a difference counts as measured."""


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Source: Wilson (1927).

    >>> [round(bound, 4) for bound in wilson_interval(355, 360)]
    [0.9679, 0.9941]
    """
    share, z2 = correct / total, Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    # Rounding can give bounds just outside 0..1, which the report's schema refuses.
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p-value, from the images that only one of two models gets right.

    Source: McNemar (1947), with the binomial distribution in place of its approximation.

    >>> mcnemar_p(3, 1), mcnemar_p(0, 0)
    (0.625, 1.0)
    """
    differing, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(differing, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**differing))


def paired_interval(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """95 % interval of a difference, first minus second, of two accuracies on the same images.

    Wilson's intervals of the two, squared and added, with what the two have in common taken off.

    Source: Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10.

    >>> [round(bound, 4) for bound in paired_interval(36, 12, 2, 0)]
    [0.0569, 0.3404]
    """
    total, first, second = both + only_first + only_second + neither, both + only_first, both + only_second
    (low, high), (others_low, others_high) = wilson_interval(first, total), wilson_interval(second, total)
    share, others, common = first / total, second / total, _correlation(both, only_first, only_second, neither)
    below = _distance(share - low, others_high - others, common)
    above = _distance(high - share, others - others_low, common)
    return share - others - below, share - others + above


def _distance(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Newcombe's phi: corrected for continuity where it is positive, 0 where a margin is empty."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    half, determinant = (both + only_first + only_second + neither) / 2, both * neither - only_first * only_second
    corrected = max(determinant - half, 0.0) if determinant > 0 else float(determinant)
    return corrected / math.sqrt(margins) if margins else 0.0
