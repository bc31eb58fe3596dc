"""Folders that are whole or absent: filled beside, renamed into place; renamed away, then deleted."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import ArtifactError, EdgekdError
from edgekd.store.disk import disk_errors

REPLACED = ".replaced-"
"""Begins the name of what had another's place."""


@contextlib.contextmanager
def written_beside(
    final: Path, prefix: str, kind: type[EdgekdError] = ArtifactError, remedy: str = "check room and permissions"
) -> Iterator[Path]:
    """A fresh folder to fill, which takes its name on leaving; what had the name is whole until then.

    Args:
        final: what it will be called.
        prefix: begins its name until then: what a killed process leaves is known by it.
        kind: of error to raise where the disk refuses.
        remedy: for it.
    """
    with disk_errors(final.parent, kind, remedy):
        final.parent.mkdir(parents=True, exist_ok=True)
        # In the same parent folder: a rename is atomic only within one file system.
        beside = Path(tempfile.mkdtemp(prefix=prefix, dir=final.parent))
    try:
        with disk_errors(final, kind, remedy):
            yield beside
            # mkdtemp makes a folder for its owner alone; a store may be shared between users.
            beside.chmod(0o755)
            put_in_place(beside, final)
    finally:
        # After success nothing is left under this name; after an error, the unfinished folder.
        shutil.rmtree(beside, ignore_errors=True)


def put_in_place(beside: Path, final: Path) -> None:
    """Rename a filled folder to its name; what had the name is whole until the new one has it, and then is gone.

    In one step where system and file system can swap two names; else, killed between two steps, the name is free and
    the old folder lies beside.
    """
    if not os.path.lexists(final):
        beside.rename(final)
    # os.rename refuses to replace a folder that is not empty, so the two exchange their names.
    elif _swapped(beside, final):
        shutil.rmtree(beside, ignore_errors=True)
    else:
        old = Path(tempfile.mkdtemp(prefix=f"{REPLACED}{final.name}-", dir=final.parent)) / "old"
        final.rename(old)
        try:
            beside.rename(final)
        # BaseException: Ctrl-C between the two renames must give the old folder its name back as well.
        except BaseException:
            old.rename(final)
            raise
        finally:
            shutil.rmtree(old.parent, ignore_errors=True)


def delete(path: Path, prefix: str) -> None:
    """Delete a folder or file, renamed first to a name that begins so: nobody finds half of it under its own."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    away = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    path.rename(away / path.name)
    shutil.rmtree(away)


def _swapped(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE (2), relative to the working folder (-100)."""
    # Python has no binding for it. glibc has the function from 2.28 on, and file systems that cannot exchange names
    # return an error; two renames serve there.
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    return swap is not None and swap(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0
