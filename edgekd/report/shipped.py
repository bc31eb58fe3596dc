"""The artifacts to which a report below ``exports/`` refers."""

import contextlib
import json
from pathlib import Path

from edgekd.errors import ArtifactError
from edgekd.store.disk import reading


def shipped_digests(report: Path) -> list[str] | None:
    """The digests of the stages in ``report.json``, in order; None if there is no such file.

    Raises:
        ArtifactError: the file is not a report, so that it is unknown what it refers to.
    """
    try:
        with reading(report), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [str(stage["digest"]) for stage in json.loads(report.read_text(encoding="utf-8"))["stages"]]
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(
            str(report), "is not a report of edgekd", "run its pipeline again, or delete the folder"
        ) from None
