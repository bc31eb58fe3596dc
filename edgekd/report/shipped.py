"""The artifacts to which a report, or the front of a search, below ``exports/`` refers."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.errors import ArtifactError
from edgekd.store.disk import reading


def shipped_digests(report: Path) -> list[str] | None:
    """The digests of the stages in ``report.json``, in order; None if there is no such file.

    Raises:
        ArtifactError: the file is not a report, so that it is unknown what it refers to.
    """
    return _found(report, "report", lambda read: [stage["digest"] for stage in read["stages"]])


def front_digests(front: Path) -> list[str] | None:
    """The digests of the trials whose files are on a search's front; None if there is no such file.

    Raises:
        ArtifactError: the file is not a front, so that it is unknown what it refers to.
    """
    return _found(front, "front", _of_front)


def _of_front(read: Any) -> list[str]:
    shown = {standing["trial"] for standing in read["standings"]}
    return [digest for trial in read["trials"] if trial["number"] in shown for digest in trial["digests"]]


def _found(path: Path, noun: str, digests_of: Callable[[Any], list[str]]) -> list[str] | None:
    try:
        with reading(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [str(digest) for digest in digests_of(json.loads(path.read_text(encoding="utf-8")))]
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        remedy = "run its pipeline again, or delete the folder"
        raise ArtifactError(str(path), f"is not a {noun} of edgekd", remedy) from None
