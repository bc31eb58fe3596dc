"""Reads ablation.json, which may be damaged or of another edgekd."""

import contextlib
from pathlib import Path

from pydantic import ValidationError

from edgekd.config import dotted
from edgekd.errors import ReportError
from edgekd.report.ablation.schema import Ablation
from edgekd.store.disk import reading


def load_ablation(path: Path) -> Ablation | None:
    """The ablation in a file; None if there is no such file.

    Raises:
        ReportError: the file is not an ablation of this edgekd, or cannot be read.
    """
    with reading(path, ReportError), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        text = path.read_bytes()
        try:
            return Ablation.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = f"is not an ablation of this edgekd ({dotted(first['loc'])[:100]}: {first['msg']})"
            raise ReportError(str(path), problem, "run its ablation again, or delete the file") from None
    return None
