"""Disk errors as one-line errors of edgekd."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import ArtifactError, EdgekdError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors that only writing raises."""


def reason_of(error: OSError) -> str:
    """The system's own words: ``no space left on device``."""
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def disk_errors(
    where: Path, kind: type[EdgekdError] = ArtifactError, remedy: str = "check room and permissions"
) -> Iterator[None]:
    """Re-raise any OSError of a write as a one-line error of edgekd.

    Args:
        where: what is being written; if the OSError names a file elsewhere, that file was being read.
        kind: of error to raise.
        remedy: for a failed write.
    """
    try:
        yield
    except OSError as error:
        # A copy that fails for lack of room names the file that it read, so the error number decides before the name.
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        if named is None or error.errno in FULL or _beside_or_below(Path(named), where):
            raise kind(named or str(where), f"cannot be written ({reason_of(error)})", remedy) from None
        problem = f"cannot be read ({reason_of(error)})"
        raise kind(named, problem, "check the path and its permissions") from None


@contextlib.contextmanager
def reading(
    path: Path, kind: type[EdgekdError] = ArtifactError, remedy: str = "check its permissions", how: str = "read"
) -> Iterator[None]:
    """Re-raise any OSError of a read as a one-line error; ``how``: the verb in 'cannot be ...'."""
    try:
        yield
    except OSError as error:
        raise kind(str(path), f"cannot be {how} ({reason_of(error)})", remedy) from None


def _beside_or_below(path: Path, where: Path) -> bool:
    """Temporary files lie beside their final name, and a folder's files below it."""
    return path.absolute().is_relative_to(where.absolute().parent)
