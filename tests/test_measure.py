"""Intervals and tests against independent implementations; latency without asserting times."""

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
from edgekd.measure import mcnemar_p, measure_latency, predictions, wilson_interval
from edgekd.ondevice.latency import ROUNDS
from edgekd.runtime import Progress


def cast_file(path: Path, shape: list[str | int]) -> Path:
    """A file that gives its pixels as float: about the smallest there is."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["pixels"], ["logits"], to=TensorProto.FLOAT)
    inputs, outputs = value("pixels", TensorProto.UINT8, shape), value("logits", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], path.stem, [inputs], [outputs])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


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


def test_a_file_that_is_refused_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    with pytest.raises(ExportError, match=r"broken\.onnx: ONNX Runtime \S+ refuses it"):
        measure_latency(
            [tmp_path / "broken.onnx"], np.zeros((1, 2), np.uint8), 1, seed=0, progress=Progress(), label=""
        )


def test_the_largest_logit_is_the_class_of_every_image_in_order(tmp_path: Path) -> None:
    """The file gives back its pixels: 150 images, more than run at once, of one row of three."""
    path = cast_file(tmp_path / "a.onnx", ["n", 3])
    pixels = torch.randint(0, 256, (150, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(pixels, torch.zeros(150).long())

    for exact in (False, True):
        assert predictions(path, split, exact=exact).tolist() == pixels.numpy().argmax(1).tolist()
