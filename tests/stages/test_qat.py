"""Quantization: what teaches, what is frozen when, and calibration alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgekd.config import validate
from edgekd.config.schemes import INT8
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.quantization import QuantizedModel
from edgekd.report.schema import Report
from edgekd.stages import Qat
from edgekd.stages.manifests import ExportedFiles, IntegerModel, manifest_of
from edgekd.store.artifacts import Artifact
from edgekd.store.tensors import load_tensors
from edgekd.training.fit import learning_rate
from edgekd.training.history import EpochLog, copy_state
from tests.chain import write_pipeline
from tests.made import said
from tests.tiny import SPEC, tiny_convnet, tiny_dataset

HEAD = """
    name: q
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 2, batch_size: 256}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the teacher is trained once for all tests."""
    return tmp_path_factory.mktemp("q")


def ran(folder: Path, *stages: str) -> tuple[dict[str, Artifact], Report | None]:
    lines = "".join(f"      - {{{stage}}}\n" for stage in stages)
    pipeline = Pipeline.from_yaml(write_pipeline(folder, HEAD + lines))
    report = pipeline.run(folder / "models", folder / "exports")
    found = {item.name: item.artifact for item in pipeline.plan(folder / "models")}
    return {name: artifact for name, artifact in found.items() if artifact is not None}, report


def weights(artifact: Artifact) -> dict[str, Tensor]:
    return load_tensors(artifact, "weights.safetensors")


def epochs_of(artifact: Artifact) -> list[EpochLog]:
    history = said(artifact).history
    assert history is not None
    return history.epochs


def test_the_teacher_s_term_acts(folder: Path) -> None:
    qat = "stage: qat, source: teacher, epochs: 1, batch_size: 256, lr: 0.05"
    made, _ = ran(folder, f"{qat}, id: taught", f"{qat}, id: alone, teacher: none", f"{qat}, id: zero, beta: 0")

    taught, alone, zero = (weights(made[name]) for name in ("taught", "alone", "zero"))
    assert any(not torch.equal(taught[name], alone[name]) for name in taught)
    assert all(torch.equal(zero[name], alone[name]) for name in zero)
    assert "kd" in epochs_of(made["taught"])[0].losses


def test_another_loss_teaches_and_is_logged_under_its_name(folder: Path) -> None:
    qat = "stage: qat, source: teacher, epochs: 1, batch_size: 256, lr: 0.05"
    made, _ = ran(folder, f"{qat}, id: usual", f"{qat}, id: other, loss: {{name: dkd, others_weight: 2}}")

    usual, other = (weights(made[name]) for name in ("usual", "other"))
    assert any(not torch.equal(usual[name], other[name]) for name in usual)
    assert set(epochs_of(made["other"])[0].losses) == {"loss", "ce", "dkd"}


def test_teacher_none_is_given_no_teacher(folder: Path) -> None:
    made, _ = ran(folder, "stage: qat, id: lonely, source: teacher, teacher: none, epochs: 1, batch_size: 300")

    assert list(said(made["lonely"]).made_from) == ["source"]


def test_the_freezes_act_at_their_epochs() -> None:
    """Which tensors a training step changes: statistics of norms up to a quarter, ranges up to a half."""
    model = QuantizedModel(tiny_convnet(), SPEC, INT8)
    images = tiny_dataset().train.images[:16].float().permute(0, 3, 1, 2) / 64 - 2
    model.calibrate([images])
    stage = Qat(freeze_batchnorm_at=0.25, freeze_observers_at=0.5)

    moved = []
    for epoch in range(4):
        model.train()
        stage._freeze(model, epoch / 4)
        before = copy_state(model)
        model(images * (2 + epoch))
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        moved.append((any("running_var" in name for name in changed), any("max_val" in name for name in changed)))

    assert moved == [(True, True), (False, True), (False, False), (False, False)]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"teacher": "none", "alpha": 1}, "is not read, since teacher is none"),
        ({"teacher": "none", "beta": 0.5}, "is not read, since teacher is none"),
        ({"teacher": "none", "temperature": 3}, "is not read, since teacher is none"),
        ({"beta": 0, "alpha": 1}, "is not read, since beta is 0"),
        ({"labels_lr": 0.2}, "is not read, since stop_teacher_at is 1"),
    ],
)
def test_what_is_given_and_not_read_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Qat(**settings)


def test_what_is_not_read_is_no_part_of_the_settings() -> None:
    unread = {"alpha", "beta", "temperature", "stop_teacher_at", "labels_lr"}

    assert unread.isdisjoint(Qat(teacher="none").deciding_settings())
    assert unread - {"labels_lr"} < set(Qat().deciding_settings())


def test_the_teacher_stops_and_the_labels_go_on_alone(folder: Path) -> None:
    qat = "stage: qat, id: stopped, source: teacher, epochs: 2, batch_size: 256, alpha: 0, lr: 0.01"
    made, _ = ran(folder, f"{qat}, stop_teacher_at: 0.5, labels_lr: 0.5")

    first, second = epochs_of(made["stopped"])
    assert first.losses["ce"] == 0 < first.losses["kd"]
    assert second.losses["kd"] == 0 < second.losses["ce"] == second.losses["loss"]
    steps = 2 * 4  # whole batches of 256 digits
    assert second.lr == pytest.approx(learning_rate(1 - 1 / steps, 0.01, 0.2, (0.5, 0.5)))


@pytest.mark.slow
def test_a_qat_that_gained_nothing_is_one_file_named_for_what_it_is(folder: Path) -> None:
    made, report = ran(
        folder, "stage: qat, teacher: none, epochs: 1, batch_size: 256, lr: 10", "stage: export, models: [qat]"
    )

    assert manifest_of(made["qat"], IntegerModel).quantized.kept == "ptq"
    assert report is not None
    assert [(model.id, model.kept, model.file) for model in report.models] == [("qat.ptq", "ptq", "model.onnx")]
    assert "ptq kept, qat did not beat it" in report.verdict.reason
    assert report.quantization is not None
    assert [bits.bits for bits in report.quantization.calibrated] == [7, 8]
    page = (folder / "exports" / "q" / "report.html").read_text(encoding="utf-8")
    assert page.count("ptq kept, qat did not beat it") >= 3


@pytest.mark.slow
def test_calibration_alone_is_a_stage(folder: Path) -> None:
    made, report = ran(folder, "stage: ptq", "stage: export, models: [teacher, ptq]")

    assert report is not None
    assert [(model.id, model.stage, model.kept) for model in report.models] == [
        ("teacher", "teacher", None),
        ("ptq", "ptq", "ptq"),
    ]
    assert report.quantization is not None
    assert report.quantization.qat_val_accuracy is None
    assert [bits.bits for bits in report.quantization.calibrated] == [7, 8]
    assert {"ptq.onnx", "ptq.ptq8.onnx"} < set(made["export"].manifest["files"])
    ptq = manifest_of(made["ptq"], IntegerModel)
    assert ptq.accuracy == ptq.quantized.ptq_val_accuracy


@pytest.mark.slow
def test_the_same_file_never_stands_twice(folder: Path) -> None:
    _, report = ran(folder, "stage: ptq", "stage: ptq, id: again, source: teacher", "stage: export")

    assert report is not None
    assert [model.id for model in report.models] == ["teacher", "ptq"]
    assert len({model.sha256 for model in report.models}) == len(report.models)
    assert "export: again is the same file as ptq and is written once, as that" in report.notes


@pytest.mark.slow
def test_made_up_names_hold_what_no_id_does(folder: Path) -> None:
    qat = "stage: qat, source: teacher, teacher: none, epochs: 2, batch_size: 64"
    made, report = ran(folder, f"{qat}, lr: 0.02", f"{qat}, id: qat-ptq, lr: 0.01", "stage: export")

    assert report is not None
    files = [file.file for file in manifest_of(made["export"], ExportedFiles).exported]
    assert len(set(files)) == len(files)
    assert "qat.ptq8.onnx" in files
    for name in ("qat", "qat-ptq"):
        assert manifest_of(made[name], IntegerModel).quantized.kept in ("qat", "ptq")
    assert len({model.id for model in report.models}) == len(report.models)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Teacher", "the ids 'teacher' and 'Teacher' differ in case alone"),
        ("teacher", "the id 'teacher' is used twice"),
        ("Model", "'Model' is no name for a stage"),
        ("NONE", "'NONE' is no name for a stage"),
        ("report", "'report' is no name for a stage"),
    ],
)
def test_a_name_that_would_stand_for_two_things_is_refused(name: str, problem: str) -> None:
    tree = {"name": "x", "stages": [{"stage": "teacher", "model": "resnet8"}, {"stage": "ptq", "id": name}]}

    with pytest.raises(ConfigError, match=problem):
        validate(Pipeline, tree, "x").check()
