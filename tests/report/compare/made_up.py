"""Made-up runs to compare: the sample report with other figures, and answers that go with them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from edgekd.report.compare.runs import Run
from edgekd.report.predictions import Predictions, write_predictions
from edgekd.report.schema import DeviceReport, Report
from tests.report.samples import TEST_IMAGES, sample_model, sample_report

LABELS = np.arange(TEST_IMAGES) % 10


def made_up_report(
    name: str = "a",
    accuracy: float = 0.975,
    size_bytes: int = 100_000,
    p50: float = 1.0,
    *,
    devices: tuple[DeviceReport, ...] = (),
    target: Mapping[str, object] | None = None,
    data: Mapping[str, object] | None = None,
    stages: Mapping[str, Mapping[str, object]] | None = None,
    **report: object,
) -> Report:
    """The teacher and a recommended file 'qat'; ``stages`` puts settings into stages, the rest replaces fields."""
    sample, changed = sample_report(), stages or {}
    facts = {"test_fingerprint": "ab" * 32, "settings": {"name": "digits", "image_size": 32, "augment": "none"}}
    return sample.model_copy(
        update={
            "pipeline": name,
            "models": [sample.models[0], sample_model("qat", accuracy, size_bytes, p50)],
            "devices": list(devices),
            "target": sample.target.model_copy(update=target or {}),
            "data": sample.data.model_copy(update={**facts, **(data or {})}),
            "stages": [
                stage.model_copy(update={"settings": {**stage.settings, **changed.get(stage.id, {})}})
                for stage in sample.stages
            ],
            **report,
        }
    )


def answers(report: Report, wrong: slice = slice(0, 0)) -> Predictions:
    """Each file's answers: as many wrong ones as the report counts, at the end; of 'qat' those in ``wrong`` instead."""
    chosen = {model.id: _mistaken(slice(model.correct, TEST_IMAGES)) for model in report.models}
    if wrong != slice(0, 0):
        chosen["qat"] = _mistaken(wrong)
    return Predictions(LABELS, chosen)


def _mistaken(wrong: slice) -> np.ndarray:
    classes = LABELS.copy()
    classes[wrong] = (classes[wrong] + 1) % 10
    return classes


def made_up_run(report: Report, wrong: slice = slice(0, 0)) -> Run:
    return Run(report.pipeline, Path("exports") / report.pipeline, report, answers(report, wrong))


def write_export(folder: Path, report: Report) -> Path:
    """An exported folder with report.json and predictions.npz."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.model_dump_json(by_alias=True), encoding="utf-8")
    found = answers(report)
    tensors = {name: torch.from_numpy(classes) for name, classes in found.chosen.items()}
    write_predictions(folder / "predictions.npz", tensors, torch.from_numpy(found.labels))
    return folder
