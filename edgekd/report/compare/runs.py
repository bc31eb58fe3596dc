"""Loads finished runs for comparison: report, recommended file and its answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import ReportError
from edgekd.report import predictions
from edgekd.report.load import load_report, report_path
from edgekd.report.predictions import Predictions, read_predictions
from edgekd.report.roles import recommended_of
from edgekd.report.schema import ModelReport, Report

LONGEST_NAME = 100


# eq=False: ``run in group`` means this very object, and arrays cannot be compared to one truth value.
@dataclass(frozen=True, eq=False)
class Run:
    """One export.

    Args:
        name: unique within the comparison.
        path: as it was given.
        answers: of each file on the test images; None if not stored.
        doubt: why the answers cannot be used, one clause; empty if they can.
    """

    name: str
    path: Path
    report: Report
    answers: Predictions | None = None
    doubt: str = ""

    @property
    def model(self) -> ModelReport:
        """The recommended file; the nearest miss if none keeps the budget."""
        model = recommended_of(self.report)
        assert model is not None, "load_report sees to it"
        return model


def load_runs(exports: Sequence[Path]) -> list[Run]:
    """All exports, named after their pipelines, or after their folders if two pipelines share a name.

    Raises:
        ReportError: fewer than two, one given twice, or one that cannot be read.
    """
    if len(exports) < 2:
        raise ReportError("compare", f"{len(exports)} export given", "name two or more folders exports/<name>/")
    paths = [report_path(export) for export in exports]
    for index, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:index]]:
            raise ReportError(str(exports[index]), "is given twice", "name each export once")
    reports = [load_report(path) for path in paths]
    return [
        _run(name, export, path, report)
        for name, export, path, report in zip(_names(exports, reports), exports, paths, reports, strict=True)
    ]


def _names(exports: Sequence[Path], reports: Sequence[Report]) -> list[str]:
    names = [report.pipeline[:LONGEST_NAME] for report in reports]
    uses = Counter(names)
    return [name if uses[name] == 1 else str(export) for name, export in zip(names, exports, strict=True)]


def _run(name: str, export: Path, path: Path, report: Report) -> Run:
    beside = path.parent / predictions.FILE
    if not beside.exists():
        return Run(name, export, report, None, f"there is no {predictions.FILE} beside its report")
    answers = read_predictions(beside)
    # A report may have been copied into a folder that holds the predictions of another run.
    wrong = _disagreement(report, answers)
    return Run(name, export, report, None, wrong) if wrong else Run(name, export, report, answers)


def _disagreement(report: Report, answers: Predictions) -> str:
    """Why predictions cannot belong to a report; empty if they agree with it."""
    for model in report.models:
        counted = int(answers.right(model.id).sum()) if model.id in answers.chosen else None
        if len(answers.labels) != model.total or counted != model.correct:
            return f"its {predictions.FILE} does not agree with its report"
    return ""
