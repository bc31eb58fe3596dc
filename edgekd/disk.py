"""What a disk refuses, in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import ArtifactError


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(
            str(error.filename or where), f"cannot be written ({reason})", "check room and permissions"
        ) from None
