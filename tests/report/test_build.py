"""The report's parts that follow from the recommendation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.pipeline import Pipeline
from edgekd.report import build
from edgekd.report.schema import ModelReport
from edgekd.report.verdict import Budget, Choice, Faster, choose
from tests.chain import write_pipeline

TWO_STUDENTS = """
    name: two
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 1, batch_size: 256}
      - {stage: distill, id: other, source: teacher, epochs: 1, batch_size: 256}
      - {stage: qat, id: one-int8, source: teacher, epochs: 1, batch_size: 256}
      - {stage: qat, id: other-int8, source: other, epochs: 1, batch_size: 256}
      - {stage: export, models: [teacher, one-int8, other-int8]}
"""


def test_a_calibrated_file_has_its_own_accuracy_on_val(tmp_path: Path) -> None:
    report = Pipeline.from_yaml(write_pipeline(tmp_path, TWO_STUDENTS)).run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    on_val = {model.id: model.val_accuracy for model in report.models}
    of_stages = {stage.id: stage.val_accuracy for stage in report.stages}
    assert on_val["teacher"] == of_stages["teacher"]
    assert on_val["other-int8"] == of_stages["other-int8"]
    assert report.quantization is not None
    quantized = {"teacher": "one-int8", "other": "other-int8"}[report.quantization.source]
    assert on_val[f"{quantized}-ptq"] == report.quantization.ptq_val_accuracy


def test_what_the_weights_range_costs_is_told_of_the_recommended_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, TWO_STUDENTS))

    def told_of(recommended: str) -> str:
        def chosen(models: Sequence[ModelReport], budget: Budget, ratio: Faster) -> Choice:
            return replace(choose(models, budget, ratio), recommended=recommended)

        monkeypatch.setattr(build, "choose", chosen)
        report = pipeline.run(tmp_path / "models", tmp_path / "exports")
        assert report is not None
        assert report.quantization is not None
        return report.quantization.source

    assert {name: told_of(name) for name in ("other-int8", "one-int8", "teacher")} == {
        "other-int8": "other",
        "one-int8": "teacher",
        "teacher": "teacher",
    }
