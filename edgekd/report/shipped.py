"""Which artifacts the report of a folder below ``exports/`` speaks of."""

import contextlib
import json
from pathlib import Path

from edgekd.errors import ArtifactError
from edgekd.store.disk import reading


def shipped_digests(report: Path) -> list[str] | None:
    """The digests of the stages that ``report.json`` names, in order; None where there is no such file.

    Raises:
        ArtifactError: the file is no report, so that nobody knows what it speaks of.
    """
    try:
        with reading(report), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [str(stage["digest"]) for stage in json.loads(report.read_text(encoding="utf-8"))["stages"]]
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(
            str(report), "is not a report of edgekd", "run its pipeline again, or delete the folder"
        ) from None
