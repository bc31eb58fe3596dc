"""Intervals and tests against independent implementations; latency without asserting times."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy import stats

from edgekd.measure import ROUNDS, mcnemar_p, measure_latency, paired_ratio, wilson_interval
from edgekd.runtime import Progress


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (355, 360), (1, 3), (5000, 10000)])
def test_wilson_s_interval_is_scipy_s(correct: int, total: int) -> None:
    expected = stats.binomtest(correct, total).proportion_ci(method="wilson")

    assert wilson_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 1), (10, 2), (7, 7), (0, 9), (120, 90)])
def test_mcnemar_s_p_value_is_the_exact_binomial_one(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0

    assert mcnemar_p(first, second) == pytest.approx(expected)


def test_a_paired_ratio_forgets_what_slows_both_down() -> None:
    random = np.random.default_rng(0)
    weather = random.uniform(1, 3, ROUNDS)
    one, other = 0.5 * weather * random.normal(1, 0.01, ROUNDS), weather

    ratio, (low, high) = paired_ratio(one, other)

    assert ratio == pytest.approx(0.5, rel=0.01)
    assert low < 0.5 < high
    assert high - low < 0.01


def test_the_same_file_twice_shows_no_difference() -> None:
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        _, (low, high) = paired_ratio(random.normal(1, 0.05, ROUNDS), random.normal(1, 0.05, ROUNDS))
        covered += low <= 1 <= high

    assert covered >= 35  # 95 % of 40 is 38


def test_latency_is_measured_for_every_file_in_every_round_and_affinity_comes_back(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        value = helper.make_tensor_value_info
        node = helper.make_node("Cast", ["pixels"], ["logits"], to=TensorProto.FLOAT)
        inputs, outputs = value("pixels", TensorProto.UINT8, ["n", 2]), value("logits", TensorProto.FLOAT, ["n", 2])
        graph = helper.make_graph([node], name, [inputs], [outputs])
        paths.append(tmp_path / f"{name}.onnx")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), paths[-1])
    before = os.sched_getaffinity(0)

    found = measure_latency(paths, np.zeros((1, 2), np.uint8), 1, seed=0, progress=Progress(), label="test")

    assert found.rounds_ms.shape == (2, ROUNDS)
    assert (found.rounds_ms > 0).all()
    assert all(len(runs) % ROUNDS == 0 and len(runs) > 0 for runs in found.runs_ms)
    assert os.sched_getaffinity(0) == before
