"""Latency without asserting times; intervals of its ratios."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgekd.config.progress import Progress
from edgekd.data import Split
from edgekd.errors import ExportError
from edgekd.ondevice.latency import ROUNDS
from edgekd.onnx_export import Census
from edgekd.report.measuring import answers, filled, measure_latency, predictions
from edgekd.stages.manifests import ExportedFile
from tests.tiny import tiny_dataset


def cast_file(path: Path, shape: list[str | int]) -> Path:
    """A file that gives its pixels as float: about the smallest there is."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["pixels"], ["logits"], to=TensorProto.FLOAT)
    inputs, outputs = value("pixels", TensorProto.UINT8, shape), value("logits", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], path.stem, [inputs], [outputs])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("real_latency")
def test_latency_is_measured_for_every_file_in_every_round_and_affinity_stays(tmp_path: Path) -> None:
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


@pytest.mark.usefixtures("real_latency")
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


def test_a_batch_larger_than_the_images_is_filled_with_them_anew() -> None:
    images = torch.arange(3, dtype=torch.uint8).reshape(3, 1)

    assert filled(images, 7).ravel().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert filled(images, 2).ravel().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("scheme", "role", "keys"),
    [
        (None, "model", {"a", "a/val"}),
        ("int8", "model", {"a", "a/exact", "a/val"}),
        ("int8 in 7 bits", "calibration", {"a", "a/exact"}),
    ],
)
def test_a_file_that_may_ship_is_asked_about_val_too(
    tmp_path: Path, scheme: str | None, role: Literal["model", "calibration"], keys: set[str]
) -> None:
    data, path = tiny_dataset(val=5, test=7), cast_file(tmp_path / "a.onnx", ["n", 8, 8, 1])

    file = ExportedFile(
        id="a",
        stage="a",
        role=role,
        file=path.name,
        sha256="",
        size_bytes=0,
        params=0,
        macs=0,
        agreement=1.0,
        drift=None,
        kernels=Census(0, 0, [], {}),
        scheme=scheme,
        kept=None,
        calibrated=False,
        max_abs_weight=None,
    )

    found = answers(file, path, data)

    assert {key: len(classes) for key, classes in found.items()} == {key: 5 if key == "a/val" else 7 for key in keys}
    if "a/val" in keys:
        assert found["a/val"].tolist() == predictions(path, data.val).tolist()
