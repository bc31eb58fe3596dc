"""Reads report.json files, which may be old, damaged or hostile."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd.config import dotted
from edgekd.errors import ReportError
from edgekd.report.roles import recommended_of
from edgekd.report.schema import SCHEMA_VERSION, Report
from edgekd.store.disk import reading

FILE = "report.json"
MOST_BYTES = 50_000_000


def report_path(export: Path) -> Path:
    """The path of report.json, given an exported folder or the file itself."""
    return export / FILE if export.is_dir() else export


def load_report(path: Path) -> Report:
    """The report in a file, every field checked.

    Args:
        path: the file; see ``report_path``.

    Raises:
        ReportError: the file is missing, damaged, or of a newer edgekd.
    """
    raw = _bytes(path)
    _check_version(raw, path)
    try:
        report = Report.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise _mistake(error, path) from None
    # All readers of a report rely on the recommended file being there.
    if recommended_of(report) is None:
        raise _damaged(path, f"recommends {report.recommended[:60]!r}, which is not one of its files")
    _check_one_for_each_class(report, path)
    return report


def _check_one_for_each_class(report: Report, path: Path) -> None:
    """Raise ReportError if a list of numbers by class is of another length: they would stand beside other classes."""
    classes, counts = len(report.data.class_names), len(report.data.test_counts)
    held = {f"models.{model.id[:60]}.per_class_accuracy": len(model.per_class_accuracy) for model in report.models}
    # Reports from before the counts have none.
    held |= {"data.classes": report.data.classes, "data.test_counts": counts or classes}
    for place, found in held.items():
        if found != classes:
            raise _damaged(path, f"{place}: is of {found} classes, class_names are {classes}")


def _bytes(path: Path) -> bytes:
    with reading(path, ReportError, "name a folder exports/<name>/ or its report.json"), path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise _damaged(path, f"is larger than {MOST_BYTES} bytes")
    return raw


def _check_version(raw: bytes, path: Path) -> None:
    """Check the schema number first: a newer report may differ in every other field."""
    try:
        found: Any = json.loads(raw)
    # RecursionError: brackets nested thousands deep, as in a hostile file.
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is not valid JSON ({str(error)[:80]})") from None
    version = found.get("schema") if isinstance(found, dict) else None
    if type(version) is not int:
        raise _damaged(path, "has no schema number")
    if version > SCHEMA_VERSION:
        problem = f"has schema {version}, this edgekd reads up to {SCHEMA_VERSION}"
        raise ReportError(str(path), problem, "use a newer edgekd")


def _mistake(error: ValidationError, path: Path) -> ReportError:
    first, more = error.errors(include_url=False)[0], error.error_count() - 1
    others = f" (and {more} more such)" if more else ""
    place = dotted(first["loc"])
    return _damaged(path, f"{place[:100]}: {first['msg'][0].lower()}{first['msg'][1:]}{others}")


def _damaged(path: Path, problem: str) -> ReportError:
    return ReportError(str(path), problem, "run the pipeline again")
