"""Intervals and tests against independent implementations."""

import pytest
from scipy import stats

from edgekd.significance import mcnemar_p, wilson_interval


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
