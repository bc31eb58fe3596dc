"""The role of each file in a report: teacher, recommended, reference of another."""

from collections.abc import Sequence

from edgekd.report.schema import ModelReport, Outcome, Report
from edgekd.training.classes import unbalanced


def teacher_of(report: Report) -> ModelReport | None:
    """The file that all ratios refer to: the first teacher, else the first file."""
    return reference(report.models)


def reference(models: Sequence[ModelReport]) -> ModelReport | None:
    """The file that the others are compared with: the first teacher, else the first."""
    teachers = [model for model in models if model.stage == "teacher"]
    return next(iter([*teachers, *models]), None)


def recommended_of(report: Report) -> ModelReport | None:
    """The recommended file; the nearest miss where no file keeps the budget."""
    return next((model for model in report.models if model.id == report.recommended), None)


def role_of(report: Report) -> str:
    """How the shipped file is called: after a verdict of fail no file is recommended."""
    return "chosen" if report.verdict.outcome == "fail" else "recommended"


def chosen_outcome(report: Report, model: str) -> Outcome | None:
    """The verdict for the shipped file; None for all others."""
    return report.verdict.outcome if model == report.recommended else None


def checked_of(report: Report) -> ModelReport | None:
    """The file to which the verdict's checks refer."""
    judged = report.verdict.checked or report.recommended
    return next((model for model in report.models if model.id == judged), None)


def faster_float_than(report: Report, model: ModelReport) -> ModelReport | None:
    """The float source of an integer file, if the integer file is measurably slower."""
    if model.source_ratio is None or model.source_ratio.ci95[0] <= 1:
        return None
    return next((other for other in report.models if other.id == model.source), None)


def balanced_of(report: Report, model: ModelReport) -> float | None:
    """Balanced accuracy, if the test images are so unbalanced that it says more; else None."""
    return model.balanced_accuracy if unbalanced(report.data.test_counts) else None


def integer_share(model: ModelReport) -> float | None:
    """Share of integer kernels, 0..1; None if there are no kernels."""
    kernels = model.kernels.integer + model.kernels.float
    return model.kernels.integer / kernels if kernels else None
