"""The ratio of two latencies and its interval, on made-up rounds."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from edgekd.ondevice.latency import PROCESSES, REPEATABILITY, ROUNDS, SAME_FILE, paired_ratio
from edgekd.ondevice.rounds import BLOCKS_PER_PROCESS, ROUNDS_PER_BLOCK, ROUNDS_PER_PROCESS


def rounds(seed: int, spread: float, block_spread: float = 0.0, process_spread: float = 0.0) -> Any:
    """Made-up medians of about a millisecond: noise of each round, and what blocks and processes share."""
    random = np.random.default_rng(seed)
    shared = np.repeat(random.normal(0, process_spread, PROCESSES), ROUNDS_PER_PROCESS)
    shared += np.repeat(random.normal(0, block_spread, PROCESSES * BLOCKS_PER_PROCESS), ROUNDS_PER_BLOCK)
    return np.exp(shared + random.normal(0, spread, ROUNDS))


def of_processes(one: Any, other: Any) -> Any:
    """Each process's logarithm of the ratio."""
    logs = np.log(one / other).reshape(PROCESSES, BLOCKS_PER_PROCESS, ROUNDS_PER_BLOCK)
    return np.median(logs, axis=2).mean(axis=1)


def test_a_paired_ratio_forgets_what_slows_both_down() -> None:
    random = np.random.default_rng(0)
    weather = random.uniform(1, 3, ROUNDS)
    one, other = 0.5 * weather * random.normal(1, 0.01, ROUNDS), weather

    ratio, (low, high) = paired_ratio(one, other)

    assert ratio == pytest.approx(0.5, rel=0.01)
    assert low < 0.5 < high
    assert high - low < 0.02


def test_the_interval_is_student_s_over_processes_with_what_measurements_differ_by_as_an_independent_error() -> None:
    one, other = 0.7 * rounds(0, 0.01, 0.005, 0.007), rounds(1, 0.01, 0.005, 0.007)
    processes = of_processes(one, other)
    assert processes.std(ddof=1) < SAME_FILE
    expected = stats.ttest_1samp(processes, 0.0).confidence_interval(0.95)

    ratio, (low, high) = paired_ratio(one, other)

    half = np.hypot((expected.high - expected.low) / 2, REPEATABILITY)
    assert ratio == pytest.approx(np.exp(processes.mean()))
    assert (np.log(low), np.log(high)) == pytest.approx((np.log(ratio) - half, np.log(ratio) + half), abs=1e-5)


def test_95_percent_means_95_percent_where_processes_differ_and_rounds_counted_alone_would_not() -> None:
    """As of a file and its copy: what a process draws no other shares, and measurements differ by what they may."""
    experiments, truth, random = 1000, 0.7, np.random.default_rng(0)
    covered = by_rounds = 0
    for seed in range(experiments):
        given = truth * np.exp(random.normal(0, REPEATABILITY / 1.96))
        one, other = given * rounds(seed, 0.01, 0.002, 0.008), rounds(seed + experiments, 0.01, 0.002, 0.008)
        _, (low, high) = paired_ratio(one, other)
        covered += low <= truth <= high
        logs = np.log(one / other)
        half = 1.98 * logs.std(ddof=1) / ROUNDS**0.5
        by_rounds += abs(logs.mean() - np.log(truth)) <= half

    assert 0.94 * experiments <= covered < 0.98 * experiments
    assert by_rounds < 0.7 * experiments


def test_95_percent_means_95_percent_of_other_measurements_where_the_machine_s_state_lasts() -> None:
    """A large file's ratio to a small one moved by a tenth between two runs: so do these, and processes by as much."""
    experiments, random = 1000, np.random.default_rng(0)
    between = 0.06
    covered = 0
    for seed in range(experiments):
        state = np.exp(random.normal(0, between))
        one = state * rounds(seed, 0.02, 0.01, between)
        _, (low, high) = paired_ratio(one, rounds(seed + experiments, 0.02, 0.01, 0.01))
        covered += low <= 1 <= high

    assert 0.94 * experiments <= covered < 0.99 * experiments


def test_the_ratio_scales_with_the_first_and_turns_over_with_the_files() -> None:
    one, other = rounds(0, 0.02, 0.01), rounds(1, 0.02, 0.01)

    ratio, interval = paired_ratio(one, other)
    tripled, wider = paired_ratio(3 * one, other)
    turned, reversed_interval = paired_ratio(other, one)

    assert interval[0] < ratio < interval[1]
    assert tripled == pytest.approx(3 * ratio)
    assert wider == pytest.approx((3 * interval[0], 3 * interval[1]))
    assert turned == pytest.approx(1 / ratio)
    assert reversed_interval == pytest.approx((1 / interval[1], 1 / interval[0]))


def test_without_any_noise_what_separate_measurements_differ_by_stays() -> None:
    ratio, (low, high) = paired_ratio(np.full(ROUNDS, 1.5), np.full(ROUNDS, 3.0))

    assert ratio == pytest.approx(0.5)
    assert (low, high) == pytest.approx((0.5 * np.exp(-REPEATABILITY), 0.5 * np.exp(REPEATABILITY)))


def test_the_same_file_twice_shows_no_difference() -> None:
    covered = 0
    for seed in range(100):
        _, (low, high) = paired_ratio(rounds(seed, 0.05), rounds(seed + 100, 0.05))
        covered += low <= 1 <= high

    assert covered >= 91  # 95 % of 100, less two standard deviations
