"""Folders that change their place in one step, and what a disk refuses in one line."""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import ArtifactError

REPLACED = ".replaced-"
"""Begins the name of what had another's place."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What no reading ends with; a copy that fails so names the file that it read."""


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line.

    Args:
        where: what is being written; a file elsewhere that an error names was being read.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        if named is None or error.errno in FULL or _beside_or_below(Path(named), where):
            problem, remedy = f"cannot be written ({reason})", "check room and permissions"
        else:
            problem, remedy = f"cannot be read ({reason})", "check the path and its permissions"
        raise ArtifactError(named or str(where), problem, remedy) from None


def _beside_or_below(path: Path, where: Path) -> bool:
    """Files are written beside what they shall be, and folders below those that hold them."""
    return path.absolute().is_relative_to(where.absolute().parent)


def put_in_place(beside: Path, final: Path) -> None:
    """Rename a filled folder to its name; what had the name is whole until the new one has it, and then is gone.

    In one step where system and file system can swap two names; else, killed between two steps, the name is free and
    the old folder lies beside.
    """
    if not os.path.lexists(final):
        beside.rename(final)
    elif _swapped(beside, final):
        shutil.rmtree(beside, ignore_errors=True)
    else:
        old = Path(tempfile.mkdtemp(prefix=f"{REPLACED}{final.name}-", dir=final.parent)) / "old"
        final.rename(old)
        try:
            beside.rename(final)
        except BaseException:
            old.rename(final)
            raise
        finally:
            shutil.rmtree(old.parent, ignore_errors=True)


def _swapped(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE (2), relative to the working folder (-100)."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    return swap is not None and swap(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0
