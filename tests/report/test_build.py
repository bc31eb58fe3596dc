"""The report's parts that follow from the recommendation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.pipeline import Pipeline
from edgekd.report import build
from edgekd.report.schema import ModelReport, Report
from edgekd.report.verdict import Budget, Choice, Faster, choose
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


def test_a_calibrated_file_has_its_own_accuracy_on_val(folder: Path) -> None:
    report = report_of(folder)

    on_val = {model.id: model.val_accuracy for model in report.models}
    of_stages = {stage.id: stage.val_accuracy for stage in report.stages if stage.id in on_val}
    assert {name: on_val[name] for name in of_stages} == of_stages
    planned = Pipeline.from_yaml(write_pipeline(folder, TWO_STUDENTS)).plan(folder / "models")
    calibrated = {
        f"{item.name}-ptq": item.artifact.manifest["quantized"]["ptq_val_accuracy"]
        for item in planned
        if item.artifact and item.stage.kind == "qat"
    }
    assert {name: on_val[name] for name in calibrated} == calibrated
    assert on_val["one-int8-ptq"] != on_val["one-int8"]


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

    assert {name: told_of(name) for name in ("other-int8", "one-int8", "teacher")} == {
        "other-int8": "other",
        "one-int8": "teacher",
        "teacher": "teacher",
    }
