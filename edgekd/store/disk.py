"""What a disk refuses, in one line."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import ArtifactError, EdgekdError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What no reading ends with; a copy that fails so names the file that it read."""


def reason_of(error: OSError) -> str:
    """What the system says of it: ``no space left on device``."""
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def disk_errors(
    where: Path, kind: type[EdgekdError] = ArtifactError, remedy: str = "check room and permissions"
) -> Iterator[None]:
    """Turn what the disk refuses while something is written into one line.

    Args:
        where: what is being written; a file elsewhere that an error names was being read.
        kind: of error to raise.
        remedy: where it is the writing that failed.
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
    """Turn what keeps a file or a folder from being read into one line; ``how``: what cannot be done."""
    try:
        yield
    except OSError as error:
        raise kind(str(path), f"cannot be {how} ({reason_of(error)})", remedy) from None


def _beside_or_below(path: Path, where: Path) -> bool:
    """Files are written beside what they shall be, and folders below those that hold them."""
    return path.absolute().is_relative_to(where.absolute().parent)
