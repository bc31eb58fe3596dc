"""What artifacts say of themselves: written and read back as records, those of older edgekds too."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edgekd.config.schemes import INT8_IN_7_BITS
from edgekd.errors import ArtifactError
from edgekd.stages.manifests import (
    ExportedFiles,
    FloatModel,
    IntegerModel,
    Manifest,
    Measurements,
    Network,
    StageManifest,
    manifest_of,
)
from edgekd.store.artifacts import Artifact, Store, digest_of
from edgekd.store.tensors import save_tensors
from edgekd.zoo import ModelSpec, build
from tests.made import nothing_exported

STORE: dict[str, Any] = {"digest": "0" * 64, "format": 1, "files": {}}
MADE: dict[str, Any] = {
    "facts": {
        "settings": {"stage": "teacher"},
        "version": 1,
        "parents": {"source": "1" * 64},
        "data": {"fingerprint": "2" * 64},
        "seed": 0,
        "target": {},
        "id": "mine",
        "stage": "teacher",
    },
    "environment": {"torch": "2.14.0", "processes": "2"},
    "seconds": 1.5,
    "history": {
        "epochs": [
            {"epoch": 1, "losses": {"loss": 0.5}, "val_accuracy": 0.9, "val_loss": 0.3, "lr": 0.1, "seconds": 1.0}
        ],
        "best_epoch": 1,
        "best_accuracy": 0.9,
        "classes": {"images": [2, 2], "answered": [2, 2], "right": [2, 2]},
    },
}
NETWORK = {
    "spec": {"name": "resnet8", "num_classes": 2, "in_channels": 1, "image_size": 8},
    "widths": {"conv": {"in_channels": 1, "out_channels": 16, "groups": 1}},
}
FILE = {
    "id": "mine", "stage": "mine", "role": "model", "precision": "int8", "file": "mine.onnx", "sha256": "3" * 64,
    "size_bytes": 10, "params": 5, "macs": 7, "agreement": 1.0, "drift": None, "weight_bits": 7, "kept": "ptq",
    "kernels": {"integer": 1, "float": 0, "float_ops": [], "ops": {"QGemm": 1}}, "calibrated": True,
    "max_abs_weight": 63,
}  # fmt: skip
OLD: dict[type[Manifest], dict[str, Any]] = {
    FloatModel: {
        **MADE,
        "model": NETWORK,
        "size": {"macs": 7, "params": 5},
        "pruning": {
            "widths": [{"layer": "conv", "before": 32, "after": 16, "note": ""}],
            "macs": [9, 7],
            "params": [6, 5],
            "pruning_ratio": 0.5,
        },
    },
    IntegerModel: {
        **MADE,
        "model": NETWORK,
        "quantized": {"weight_bits": 7, "kept": "ptq", "ptq_val_accuracy": 0.9, "qat_val_accuracy": 0.8},
    },
    ExportedFiles: {**MADE, "history": None, "exported": [FILE, {**FILE, "weight_bits": None, "precision": "float32"}]},
    Measurements: {"saturates": False, "parents": {"export": "4" * 64}},
}
"""Manifests as they were written before they had a kind."""


def artifact(plain: dict[str, Any]) -> Artifact:
    return Artifact(Path("nowhere"), {**STORE, **plain})


@pytest.mark.parametrize("kind", OLD, ids=lambda kind: kind.__name__)
def test_a_manifest_of_an_older_edgekd_is_read_and_one_of_today_comes_back_as_it_was(kind: type[Manifest]) -> None:
    old = manifest_of(artifact(OLD[kind]), kind)

    assert manifest_of(artifact(old.model_dump()), Manifest) == old
    assert all(len(digest) == 64 for digest in old.made_from.values())
    assert old.label == ("measurement" if kind is Measurements else "teacher mine")


def test_what_an_older_manifest_said_is_kept() -> None:
    floats, integers = (
        manifest_of(artifact(OLD[FloatModel]), FloatModel),
        manifest_of(artifact(OLD[IntegerModel]), IntegerModel),
    )
    files = manifest_of(artifact(OLD[ExportedFiles]), ExportedFiles)

    assert floats.accuracy == integers.accuracy == 0.9
    assert floats.pruning is not None
    assert (floats.pruning.widths[0].after, floats.pruning.macs) == (16, (9, 7))
    assert integers.scheme == INT8_IN_7_BITS
    assert [(file.precision, file.integers) for file in files.models] == [("int8", INT8_IN_7_BITS), ("float32", None)]


def test_what_a_stage_has_to_tell_is_in_its_manifest() -> None:
    made = manifest_of(artifact({**OLD[IntegerModel], "warnings": ["it is small"]}), StageManifest)

    assert made.told == [
        "it is small",
        "trained by 2 processes, each normalising its own share of a batch",
        "training did not beat calibration alone (PTQ 0.9000 on val, the best trained epoch 0.8000): "
        "the calibrated model was kept",
    ]
    assert nothing_exported().told == []


def test_another_kind_than_is_asked_for_is_one_line() -> None:
    with pytest.raises(ArtifactError, match=r"nowhere: holds exported files; FloatModel was asked for"):
        manifest_of(artifact(OLD[ExportedFiles]), FloatModel)


def test_ranges_of_another_graph_of_the_network_are_refused_in_one_line(tmp_path: Path) -> None:
    """An older edgekd rewrote some networks in another way before it quantized them."""
    old = manifest_of(artifact(OLD[IntegerModel]), IntegerModel)
    spec = ModelSpec(name="resnet8", num_classes=2, in_channels=1, image_size=8)
    model = old.model_copy(update={"model": Network.of(build(spec), spec)})
    store = Store(tmp_path)
    with store.writing(digest_of({}), model.model_dump()) as folder:
        save_tensors(folder / "weights.safetensors", {"graph.a_pad": torch.zeros(1)})
    stored = store.find(digest_of({}))
    assert stored is not None

    with pytest.raises(ArtifactError, match="holds ranges of another graph of its network than this edgekd") as told:
        next(model.for_export("mine", stored))

    assert "\n" not in str(told.value)


@pytest.mark.parametrize("wrong", [{"kind": "film"}, {"seconds": "long"}, {"unknown": 1}])
def test_what_this_edgekd_does_not_write_is_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="its manifest was written by another edgekd") as told:
        manifest_of(artifact({**OLD[FloatModel], **wrong}), FloatModel)

    assert "\n" not in str(told.value)
