"""Warnings shown in red in the report, whatever the verdict is."""

from edgekd.report import wording as w
from edgekd.report.roles import recommended_of, teacher_of
from edgekd.report.schema import ModelReport, Report

FAR_BELOW = 0.03
"""Accuracy below the teacher's from which on a recommended file is flagged."""


def alarms(report: Report) -> list[str]:
    """A sentence each."""
    model, teacher = recommended_of(report), teacher_of(report)
    if model is None:
        return []
    return [*(f"{model.id} {text}." for text in model.warnings), *_astray(model, teacher)]


def _astray(model: ModelReport, teacher: ModelReport | None) -> list[str]:
    """A sentence if a file answers differently from torch, or is far less accurate than its teacher."""
    if model.drift is not None and model.drift.kind != "rounding":
        return [f"{model.id}: {w.drift(model.drift)}."]
    if teacher is None or model == teacher or model.accuracy_drop <= FAR_BELOW:
        return []
    interval = (
        "" if model.accuracy_drop_ci95 is None else f" (95 % interval {w.points_interval(model.accuracy_drop_ci95)})"
    )
    points = w.points(model.accuracy_drop).lstrip("+")
    return [f"{model.id} lies {points} points below {teacher.id} on test{interval}."]
