"""What stands in red in the report: what a reader must not overlook whatever the verdict."""

from edgekd.report import wording as w
from edgekd.report.roles import recommended_of, teacher_of
from edgekd.report.schema import ModelReport, Report

FAR_BELOW = 0.03
"""From so much accuracy below its teacher on, a file is not what most would take it for."""


def alarms(report: Report) -> list[str]:
    """A sentence each."""
    model, teacher = recommended_of(report), teacher_of(report)
    if model is None:
        return []
    return [*(f"{model.id} {text}." for text in model.warnings), *_astray(model, teacher)]


def _astray(model: ModelReport, teacher: ModelReport | None) -> list[str]:
    """Where a file answers otherwise than torch, or far worse than its teacher."""
    if model.drift is not None and model.drift.kind != "rounding":
        return [f"{model.id}: {w.drift(model.drift)}."]
    if teacher is None or model == teacher or model.accuracy_drop <= FAR_BELOW:
        return []
    interval = (
        "" if model.accuracy_drop_ci95 is None else f" (95 % interval {w.points_interval(model.accuracy_drop_ci95)})"
    )
    points = w.points(model.accuracy_drop).lstrip("+")
    return [f"{model.id} lies {points} points below {teacher.id} on test{interval}."]
