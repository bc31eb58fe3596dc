"""Intervals and tests against independent implementations."""

import numpy as np
import pytest
from scipy import stats

from edgekd.training.significance import mcnemar_p, paired_interval, wilson_interval


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (355, 360), (1, 3), (5000, 10000)])
def test_wilson_s_interval_is_scipy_s(correct: int, total: int) -> None:
    expected = stats.binomtest(correct, total).proportion_ci(method="wilson")

    assert wilson_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_s_interval_is_scipy_s_for_every_count() -> None:
    for correct in range(21):
        expected = stats.binomtest(correct, 20).proportion_ci(method="wilson")
        assert wilson_interval(correct, 20) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mcnemar_s_p_value_knows_no_order() -> None:
    assert mcnemar_p(17, 4) == mcnemar_p(4, 17)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 1), (10, 2), (7, 7), (0, 9), (120, 90)])
def test_mcnemar_s_p_value_is_the_exact_binomial_one(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0

    assert mcnemar_p(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "published"),
    [((36, 12, 2, 0), (0.0569, 0.3404)), ((14, 5, 0, 22), (0.011, 0.226)), ((1, 1, 7, 12), (-0.507, -0.026))],
    ids=["Newcombe 1998, table I", "Altman 2000, table 6.2", "Fagerland 2014, airway hyper-responsiveness"],
)
def test_the_interval_of_a_paired_difference_is_the_published_one(
    counts: tuple[int, int, int, int], published: tuple[float, float]
) -> None:
    digits = 4 if counts[0] == 36 else 3

    assert tuple(round(bound, digits) for bound in paired_interval(*counts)) == published


def test_the_interval_of_a_paired_difference_turns_round_with_the_order() -> None:
    low, high = paired_interval(800, 60, 40, 100)

    assert paired_interval(800, 40, 60, 100) == pytest.approx((-high, -low), abs=1e-12)
    assert low < 0.02 < high


@pytest.mark.parametrize("counts", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0), (5, 0, 0, 5)])
def test_the_interval_of_a_paired_difference_is_never_empty_nor_beyond_one(counts: tuple[int, int, int, int]) -> None:
    """Also where no image, or every image, tells the two apart: few images prove little."""
    low, high = paired_interval(*counts)

    assert -1 <= low < high <= 1


def test_the_interval_of_a_paired_difference_holds_the_truth_about_95_times_in_100() -> None:
    """Of 2000 made-up test sets of 400 images: 1.5 points either way is three standard errors."""
    shares = (0.86, 0.06, 0.03, 0.05)
    sets = np.random.default_rng(0).multinomial(400, shares, size=2000)

    held = [low <= shares[1] - shares[2] <= high for low, high in (paired_interval(*map(int, row)) for row in sets)]

    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
