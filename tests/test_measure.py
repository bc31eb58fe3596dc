"""Latency without asserting times; intervals of its ratios."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from scipy import stats

from edgekd.data import Split
from edgekd.errors import ExportError
from edgekd.measure import (
    BLOCKS,
    FEW_BLOCKS,
    ROUNDS,
    ROUNDS_PER_BLOCK,
    measure_latency,
    paired_ratio,
    predictions,
)
from edgekd.runtime import Progress


def cast_file(path: Path, shape: list[str | int]) -> Path:
    """A file that gives its pixels as float: about the smallest there is."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["pixels"], ["logits"], to=TensorProto.FLOAT)
    inputs, outputs = value("pixels", TensorProto.UINT8, shape), value("logits", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], path.stem, [inputs], [outputs])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_paired_ratio_forgets_what_slows_both_down() -> None:
    random = np.random.default_rng(0)
    weather = random.uniform(1, 3, ROUNDS)
    one, other = 0.5 * weather * random.normal(1, 0.01, ROUNDS), weather

    ratio, (low, high) = paired_ratio(one, other)

    assert ratio == pytest.approx(0.5, rel=0.01)
    assert low < 0.5 < high
    assert high - low < 0.01


def rounds(seed: int, spread: float, block_spread: float) -> np.ndarray:
    """Made-up medians of one millisecond, with noise of each round and of each block of rounds."""
    random = np.random.default_rng(seed)
    return random.normal(1, spread, ROUNDS) + np.repeat(random.normal(0, block_spread, BLOCKS), ROUNDS_PER_BLOCK)


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    """Noise that a whole block shares must widen the interval: single rounds drawn alone would cover far less."""
    found = [paired_ratio(0.7 * rounds(seed, 0.01, 0.03), rounds(seed + 1000, 0.01, 0.03)) for seed in range(200)]

    covered = sum(low <= 0.7 <= high for _, (low, high) in found)
    assert 180 <= covered <= 198  # 95 % of 200 is 190, with a standard deviation of 3


def test_the_ratio_scales_with_the_first_and_turns_over_with_the_files() -> None:
    one, other = rounds(0, 0.02, 0.01), rounds(1, 0.02, 0.01)

    ratio, interval = paired_ratio(one, other)
    tripled, wider = paired_ratio(3 * one, other)
    turned, _ = paired_ratio(other, one)

    assert ratio == np.median(one / other)
    assert interval[0] < ratio < interval[1]
    assert tripled == pytest.approx(3 * ratio)
    assert wider == pytest.approx((3 * interval[0], 3 * interval[1]))
    assert turned == pytest.approx(1 / ratio, rel=1e-3)  # the median of an even number is a mean of two
    assert paired_ratio(one, other) == (ratio, interval)


def test_without_any_noise_the_interval_is_a_point() -> None:
    assert paired_ratio(np.full(ROUNDS, 1.5), np.full(ROUNDS, 3.0)) == (0.5, (0.5, 0.5))


def test_the_few_blocks_are_allowed_for_by_student_s_t() -> None:
    wider = stats.t.ppf(0.975, BLOCKS - 1) / stats.norm.ppf(0.975) * (BLOCKS / (BLOCKS - 1)) ** 0.5

    assert pytest.approx(wider, abs=0.005) == FEW_BLOCKS


def test_the_same_file_twice_shows_no_difference() -> None:
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        _, (low, high) = paired_ratio(random.normal(1, 0.05, ROUNDS), random.normal(1, 0.05, ROUNDS))
        covered += low <= 1 <= high

    assert covered >= 35  # 95 % of 40 is 38


def test_latency_is_measured_for_every_file_in_every_round_and_affinity_comes_back(tmp_path: Path) -> None:
    paths = [cast_file(tmp_path / f"{name}.onnx", ["n", 2]) for name in ("a", "b")]
    before = os.sched_getaffinity(0)

    found = measure_latency(paths, np.zeros((1, 2), np.uint8), 1, seed=0, progress=Progress(), label="test")

    assert found.rounds_ms.shape == (2, ROUNDS)
    assert (found.rounds_ms > 0).all()
    assert all(len(runs) % ROUNDS == 0 and len(runs) > 0 for runs in found.runs_ms)
    assert os.sched_getaffinity(0) == before
    for runs, medians in zip(found.runs_ms, found.rounds_ms, strict=True):
        assert runs.min() <= medians.min()
        assert medians.max() <= runs.max()


def test_affinity_comes_back_after_a_file_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    before = os.sched_getaffinity(0)

    with pytest.raises(ExportError, match=r"broken\.onnx: ONNX Runtime refuses it"):
        measure_latency(
            [tmp_path / "broken.onnx"], np.zeros((1, 2), np.uint8), 1, seed=0, progress=Progress(), label=""
        )

    assert os.sched_getaffinity(0) == before


def test_the_largest_logit_is_the_class_of_every_image_in_order(tmp_path: Path) -> None:
    """The file gives back its pixels: 150 images, more than run at once, of one row of three."""
    path = cast_file(tmp_path / "a.onnx", ["n", 3])
    pixels = torch.randint(0, 256, (150, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(pixels, torch.zeros(150).long())

    for exact in (False, True):
        assert predictions(path, split, exact=exact).tolist() == pixels.numpy().argmax(1).tolist()
