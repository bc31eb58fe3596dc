"""Folders that are complete or absent: filled under a temporary name and renamed; renamed before they are deleted."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgekd.errors import ArtifactError, EdgekdError
from edgekd.store.disk import disk_errors

REPLACED = ".replaced-"
"""Prefix of a folder that was replaced."""


@contextlib.contextmanager
def written_beside(
    final: Path, prefix: str, kind: type[EdgekdError] = ArtifactError, remedy: str = "check room and permissions"
) -> Iterator[Path]:
    """A new folder to fill, renamed to ``final`` on exit; an existing folder of that name stays intact until then.

    Args:
        final: its path once it is complete.
        prefix: of its temporary name, by which the leftovers of a killed process are recognised.
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
            _sync_content(beside)
            put_in_place(beside, final)
    finally:
        # After success nothing is left under this name; after an error, the unfinished folder.
        shutil.rmtree(beside, ignore_errors=True)


def put_in_place(beside: Path, final: Path) -> None:
    """Rename a complete folder to its final name and delete the folder that had it.

    Atomic where the system can exchange two names. Elsewhere a process killed between the two renames leaves the name
    free and the old folder beside it.
    """
    if not os.path.lexists(final):
        beside.rename(final)
        _sync_folder(final.parent)
    # os.rename refuses to replace a folder that is not empty, so the two exchange their names.
    elif _swapped(beside, final):
        _sync_folder(final.parent)
        shutil.rmtree(beside, ignore_errors=True)
    else:
        old = Path(tempfile.mkdtemp(prefix=f"{REPLACED}{final.name}-", dir=final.parent)) / "old"
        try:
            final.rename(old)
            beside.rename(final)
            _sync_folder(final.parent)
        # BaseException: Ctrl-C between the two renames must give the old folder its name back as well.
        except BaseException:
            # It may also come before both or after both: then there is nothing to give back, and to try it would raise
            # another error, which hides why this ends.
            if not os.path.lexists(final):
                old.rename(final)
            raise
        finally:
            shutil.rmtree(old.parent, ignore_errors=True)


def delete(path: Path, prefix: str) -> None:
    """Delete a folder or file; a folder is first renamed to ``prefix...``, so that nobody finds half of it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    away = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    path.rename(away / path.name)
    shutil.rmtree(away)


def _sync_content(folder: Path) -> None:
    """Wait until a folder's files are on the disk.

    Without it a power cut can leave the new name with empty files: file systems may write a rename before the content
    of the files that it names. Checksums find that, but by then the checkpoints, or the bundle that was replaced, are
    deleted, so that hours of training are lost.
    """
    places = [folder, *folder.rglob("*")]
    # All at once: file systems write what several threads wait for in one go, so that eleven files of a bundle take
    # about 20 ms in place of 50 (ext4).
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(_sync_file, [place for place in places if place.is_file()]):
            pass
    for place in places:
        if place.is_dir():
            _sync_folder(place)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a rename survives a power cut only from then on."""
    # Some file systems, and Windows, cannot sync a folder; the content that it names is checked by its readers.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _swapped(one: Path, other: Path) -> bool:
    """Exchange two names: Linux's renameat2 with RENAME_EXCHANGE (2); -100 is AT_FDCWD."""
    # Python has no binding for it. glibc has the function from 2.28 on, and file systems that cannot exchange names
    # return an error; two renames serve there.
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    return swap is not None and swap(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0
