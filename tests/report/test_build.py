"""The report's parts that follow from the recommendation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.data import Digits, load_dataset
from edgekd.ondevice.latency import Latencies
from edgekd.pipeline import Pipeline
from edgekd.report import build, subject
from edgekd.report.fitting import Budget
from edgekd.report.measuring import measure_latency, predictions
from edgekd.report.predictions import read_predictions
from edgekd.report.schema import ModelReport, Report
from edgekd.report.verdict import Choice, Faster, choose
from edgekd.training.classes import count_classes, shortcomings
from tests.chain import write_pipeline

TWO_STUDENTS = """
    name: two
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 1, batch_size: 256}
      - {stage: distill, id: other, source: teacher, epochs: 1, batch_size: 256}
      - {stage: qat, id: one-int8, source: teacher, epochs: 2, lr: 0.1, batch_size: 256}
      - {stage: qat, id: other-int8, source: other, epochs: 1, batch_size: 256}
      - {stage: export, models: [teacher, one-int8, other-int8]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stages are made once for all tests."""
    return tmp_path_factory.mktemp("two")


def report_of(folder: Path) -> Report:
    pipeline = Pipeline.from_yaml(write_pipeline(folder, TWO_STUDENTS))
    report = pipeline.run(folder / "models", folder / "exports")
    assert report is not None
    return report


@pytest.mark.slow
def test_val_decides_by_the_answers_of_the_exported_files_themselves(folder: Path) -> None:
    report = report_of(folder)
    val = load_dataset(Digits(image_size=8)).val

    right = {
        model.id: predictions(folder / "exports" / "two" / model.file, val) == val.labels.numpy()
        for model in report.models
    }
    teacher = right["teacher"]
    for model in report.models:
        found = model.val_paired
        assert found is not None
        assert model.val_accuracy == found.accuracy == pytest.approx(right[model.id].mean())
        assert found.drop == pytest.approx(teacher.mean() - right[model.id].mean())
        assert found.only_teacher == int((teacher & ~right[model.id]).sum())
    assert len({model.val_accuracy for model in report.models}) > 2


def test_latency_is_measured_on_as_many_images_as_the_report_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test images are 360."""
    batches = []

    def measured(paths: Sequence[Path], pixels: np.ndarray, *rest: Any, **named: Any) -> Latencies:
        batches.append(len(pixels))
        return measure_latency(paths[:1], pixels[:1], *rest, **named)

    monkeypatch.setattr(subject, "measure_latency", measured)
    pipeline = Pipeline.from_yaml(
        write_pipeline(folder, TWO_STUDENTS), ["target.batch=512", "stages.4.models=[teacher]"]
    )

    report = pipeline.run(folder / "models", folder / "large")

    assert report is not None
    assert batches == [report.target.batch] == [512]


def test_the_other_students_are_paired_with_the_recommended_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(models: Sequence[ModelReport], budget: Budget, ratio: Faster) -> Choice:
        return replace(choose(models, budget, ratio), recommended="one-int8")

    monkeypatch.setattr(build, "choose", chosen)
    report = report_of(folder)
    stored = read_predictions(folder / "exports" / "two" / "predictions.npz")

    ours = stored.right("one-int8")
    assert {rival.id: (rival.only_recommended, rival.only_rival) for rival in report.rivals} == {
        name: (int((ours & ~stored.right(name)).sum()), int((stored.right(name) & ~ours).sum()))
        for name in stored.chosen
        if name not in ("teacher", "one-int8")
    }
    assert all(rival.ci95[0] <= rival.difference <= rival.ci95[1] for rival in report.rivals)


@pytest.mark.slow
def test_what_the_weights_range_costs_is_told_of_the_recommended_student(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_of(recommended: str) -> str:
        def chosen(models: Sequence[ModelReport], budget: Budget, ratio: Faster) -> Choice:
            return replace(choose(models, budget, ratio), recommended=recommended)

        monkeypatch.setattr(build, "choose", chosen)
        report = report_of(folder)
        assert report.quantization is not None
        return report.quantization.source

    names = [model.id for model in report_of(folder).models]
    sources = {name: told_of(name) for name in names}

    assert {name.removesuffix(".ptq"): source for name, source in sources.items()} == {
        "other-int8": "other",
        "one-int8": "teacher",
        "teacher": "teacher",
    }


def test_what_was_not_learned_is_told_by_the_stages_and_of_the_files(folder: Path) -> None:
    report = report_of(folder)
    test = load_dataset(Digits(image_size=8)).test

    chosen = read_predictions(folder / "exports" / "two" / "predictions.npz").chosen
    for model in report.models:
        counts = count_classes(torch.from_numpy(chosen[model.id].astype(np.int64)), test.labels, 10)
        assert model.per_class_accuracy == counts.recall
        assert model.balanced_accuracy == counts.balanced_accuracy
        assert model.warnings == shortcomings(counts, report.data.class_names, "test")
    assert report.data.test_counts == test.labels.bincount().tolist()
    assert any(note.startswith("teacher: never answers ") and "classes of val" in note for note in report.notes)
