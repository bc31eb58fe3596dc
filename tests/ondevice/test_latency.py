"""The ratio of two latencies and its interval, on made-up rounds."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from edgekd.ondevice.faults import Fault
from edgekd.ondevice.latency import (
    BLOCKS,
    REPEATABILITY,
    ROUNDS,
    ROUNDS_PER_BLOCK,
    interleaved,
    paired_ratio,
)


def test_a_paired_ratio_forgets_what_slows_both_down() -> None:
    random = np.random.default_rng(0)
    weather = random.uniform(1, 3, ROUNDS)
    one, other = 0.5 * weather * random.normal(1, 0.01, ROUNDS), weather

    ratio, (low, high) = paired_ratio(one, other)

    assert ratio == pytest.approx(0.5, rel=0.01)
    assert low < 0.5 < high
    assert high - low < 0.02


def rounds(seed: int, spread: float, block_spread: float) -> Any:
    """Made-up medians of one millisecond, with noise of each round and of each block of rounds."""
    random = np.random.default_rng(seed)
    noise: Any = random.normal(1, spread, ROUNDS)
    return noise + np.repeat(random.normal(0, block_spread, BLOCKS), ROUNDS_PER_BLOCK)


def test_the_interval_is_student_s_over_blocks_and_what_the_same_file_differs_by() -> None:
    """Against scipy; noise that a whole block shares widens it: single rounds counted alone would give far less."""
    one, other = 0.7 * rounds(0, 0.01, 0.03), rounds(1, 0.01, 0.03)
    blocks = np.median(np.log(one / other).reshape(BLOCKS, ROUNDS_PER_BLOCK), axis=1)
    expected = stats.ttest_1samp(blocks, 0.0).confidence_interval(0.95)

    ratio, (low, high) = paired_ratio(one, other)

    assert ratio == pytest.approx(np.exp(blocks.mean()))
    assert np.log(low) == pytest.approx(expected.low - REPEATABILITY, abs=1e-6)
    assert np.log(high) == pytest.approx(expected.high + REPEATABILITY, abs=1e-6)


def test_the_interval_covers_the_true_ratio_at_least_as_often_as_it_says() -> None:
    found = [paired_ratio(0.7 * rounds(seed, 0.01, 0.03), rounds(seed + 1000, 0.01, 0.03)) for seed in range(200)]

    covered = sum(low <= 0.7 <= high for _, (low, high) in found)
    assert covered >= 184  # 95 % of 200 is 190, with a standard deviation of 3


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


def test_without_any_noise_what_the_same_file_differs_by_stays() -> None:
    ratio, (low, high) = paired_ratio(np.full(ROUNDS, 1.5), np.full(ROUNDS, 3.0))

    assert ratio == pytest.approx(0.5)
    assert (low, high) == pytest.approx((0.5 * np.exp(-REPEATABILITY), 0.5 * np.exp(REPEATABILITY)))


def test_the_same_file_twice_shows_no_difference() -> None:
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        _, (low, high) = paired_ratio(random.normal(1, 0.05, ROUNDS), random.normal(1, 0.05, ROUNDS))
        covered += low <= 1 <= high

    assert covered >= 38  # 95 % of 40, and more for what is allowed to the same file


def test_affinity_comes_back_after_a_file_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    before = os.sched_getaffinity(0)

    with pytest.raises(Fault, match=r"broken\.onnx: ONNX Runtime \S+ refuses it"):
        interleaved([tmp_path / "broken.onnx"], [{}], 1, 0, lambda done, total: None)

    assert os.sched_getaffinity(0) == before
