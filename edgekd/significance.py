"""How sure a measured accuracy, or a difference of two, can be."""

import math

Z95 = 1.959963984540054


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Source: Wilson (1927).

    >>> [round(bound, 4) for bound in wilson_interval(355, 360)]
    [0.9679, 0.9941]
    """
    share, z2 = correct / total, Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
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
