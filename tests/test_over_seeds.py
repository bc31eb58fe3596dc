"""Means over seeds: against cases computed by hand, and how often their intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from edgekd.training.over_seeds import accuracy_difference, mean_ratio, mean_squares, quotient, student_t
from edgekd.training.significance import paired_interval


def flags(*rows: str) -> np.ndarray:
    return np.array([[digit == "1" for digit in row] for row in rows])


def test_the_interval_of_a_difference_is_that_computed_by_hand() -> None:
    """Twenty images: one that both seeds gain, two that the first gains, one that both lose; means 0.1 and 0, so 0.05.

    Sums of squares: seeds 20 (0.05² + 0.05²) = 0.1; images 2 (0.95² + 2 0.45² + 1.05² + 16 0.05²) = 4.9; all
    6 - 40 0.05² = 5.9, so the rest 0.9. Mean squares: 0.1, 4.9 / 19, 0.9 / 19.
    """
    first, second = flags("0001" + "1" * 16, "0111" + "1" * 16), flags("1110" + "1" * 16, "1110" + "1" * 16)

    mean, (low, high) = accuracy_difference(first, second)

    variance = 0.1 + 4.9 / 19 - 0.9 / 19
    degrees = variance**2 / (0.1**2 + (4.9 / 19) ** 2 / 19 + (0.9 / 19) ** 2 / 19)
    half = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance / 40)
    assert mean_squares(second.astype(float) - first) == pytest.approx((0.1, 4.9 / 19, 0.9 / 19))
    assert mean == pytest.approx(0.05)
    assert (low, high) == pytest.approx((0.05 - half, 0.05 + half))


def test_a_variance_that_chance_makes_too_small_is_that_of_the_images_or_of_the_seeds_alone() -> None:
    """Both seeds gain one image of twenty, a different one each: seeds 0, images 2 (2 0.45² + 18 0.05²) / 19."""
    first = flags("00" + "1" * 18, "00" + "1" * 18)

    mean, (low, high) = accuracy_difference(first, flags("10" + "1" * 18, "01" + "1" * 18))

    images = 2 * (2 * 0.45**2 + 18 * 0.05**2) / 19
    half = 2.0930241 * math.sqrt(images / 40)
    assert mean == pytest.approx(0.05)
    assert (low, high) == pytest.approx((0.05 - half, 0.05 + half))


def test_an_interval_ends_where_accuracies_do() -> None:
    assert accuracy_difference(flags("0110", "1010"), flags("1111", "1001"))[1] == (-1.0, 1.0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_seed_or_no_difference_at_all_gives_newcombe_s_interval_over_images(seeds: int) -> None:
    right = np.tile(flags("1110" * 20), (seeds, 1))
    other = np.tile(flags("1100" * 20), (seeds, 1))

    assert accuracy_difference(right, right) == (0.0, paired_interval(60, 0, 0, 20))
    if seeds == 1:
        assert accuracy_difference(other, right) == (0.25, paired_interval(40, 20, 0, 20))


def test_the_difference_turns_round_with_the_order() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((3, 50)) < 0.8, generator.random((3, 50)) < 0.7

    there, back = accuracy_difference(first, second), accuracy_difference(second, first)

    assert there[0] == -back[0] < 0
    assert there[1] == pytest.approx((-back[1][1], -back[1][0]))


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "least"), [(2, 0.0, 0.945), (3, 0.0, 0.945), (3, 0.1, 0.925), (5, 0.1, 0.935)]
)
def test_intervals_of_differences_hold_the_truth_about_95_times_in_100(
    seeds: int, of_seeds: float, least: float
) -> None:
    """Made-up runs of 300 images, some harder than others, of networks that some seeds make better than others."""
    generator, held = np.random.default_rng(0), []
    for _ in range(500):
        hard = generator.normal(1.3, 0.8, 300)
        runs = [
            generator.normal(0, of_seeds, (seeds, 1)),
            0.25 + generator.normal(0, of_seeds, (seeds, 1)),
        ]
        first, second = (generator.random((seeds, 300)) < stats.norm.cdf(run + hard) for run in runs)
        low, high = accuracy_difference(first, second)[1]
        held.append(low <= _truth(of_seeds) <= high)

    assert least <= np.mean(held) <= 0.985


def _truth(of_seeds: float) -> float:
    """Of a normal sum of all, the share above zero."""
    spread = math.sqrt(1 + 0.8**2 + of_seeds**2)
    return float(stats.norm.cdf(1.55 / spread) - stats.norm.cdf(1.3 / spread))


def test_the_mean_of_ratios_is_geometric_and_joins_both_errors() -> None:
    ratios = [(0.5, (0.5 / 1.02, 0.5 * 1.02)), (0.45, (0.45 / 1.03, 0.45 * 1.03)), (0.55, (0.55 / 1.01, 0.55 * 1.01))]

    ratio, (low, high) = mean_ratio(ratios)

    logs = [math.log(0.5), math.log(0.45), math.log(0.55)]
    spread = 4.3026527 * float(np.std(logs, ddof=1)) / math.sqrt(3)
    own = math.sqrt(sum(math.log(width) ** 2 for width in (1.02, 1.03, 1.01))) / 3
    assert ratio == pytest.approx((0.5 * 0.45 * 0.55) ** (1 / 3))
    assert math.log(high / ratio) == pytest.approx(math.hypot(spread, own)) == pytest.approx(math.log(ratio / low))


def test_one_seed_s_ratio_keeps_its_own_interval_and_equal_ratios_without_one_have_none() -> None:
    alone, bytes_of_three = mean_ratio([(0.5, (0.4, 0.625))]), mean_ratio([(0.25, (0.25, 0.25))] * 3)

    assert (alone[0], *alone[1]) == pytest.approx((0.5, 0.4, 0.625))
    assert (bytes_of_three[0], *bytes_of_three[1]) == pytest.approx((0.25, 0.25, 0.25))


def test_a_quotient_has_both_errors() -> None:
    ratio, (low, high) = quotient((0.6, (0.6 / 1.03, 0.6 * 1.03)), (0.5, (0.5 / 1.04, 0.5 * 1.04)))

    half = math.hypot(math.log(1.03), math.log(1.04))
    assert (ratio, low, high) == pytest.approx((1.2, 1.2 * math.exp(-half), 1.2 * math.exp(half)))


@pytest.mark.parametrize("degrees", [1, 2, 3, 119])
def test_student_s_quantile_is_the_table_s(degrees: int) -> None:
    assert student_t(degrees) == pytest.approx(float(stats.t.ppf(0.975, degrees)))
