"""The folder of versions on the device, and the link that says which one is served.

PATH/current -> versions/20260131T120000Z-0123456789ab      switched in one rename
PATH/versions/20260131T120000Z-0123456789ab/                a whole version; its .before names the one it replaced
PATH/versions/.incoming-1234/                               a version that is arriving
PATH/.lock                                                  held while a version arrives or is switched to
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edgekd.bundle.deploy.remote.wire import RefusedError, sync_folder

VERSION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}")
BEFORE, INCOMING, NEW_LINK = ".before", ".incoming-", ".current-"
LOCK_S = 2
"""How long to wait for the lock: a deploy whose sender is gone needs a moment to notice it."""


def checked_name(name: str) -> str:
    """The name, if it is that of a version; else RefusedError."""
    if not VERSION.fullmatch(name):
        raise RefusedError(f"{name!r} is not a version name", "")
    return name


def served(root: Path) -> str | None:
    """The version that is served; None if there is none."""
    link = root / "current"
    if not link.is_symlink() and not link.exists():
        return None
    folder, name = os.path.split(link.readlink()) if link.is_symlink() else ("", "")
    # A ``current`` that the user made must not be replaced.
    if folder != "versions" or not VERSION.fullmatch(name):
        raise RefusedError(f"{link} was not made by a deploy", "move it away, or deploy to another folder")
    return name


def replaced_by(root: Path, name: str) -> str | None:
    """The version that this one replaced; None if that is gone, or this was the first."""
    with contextlib.suppress(OSError):
        before = (root / "versions" / name / BEFORE).read_text(encoding="utf-8", errors="replace")
        if VERSION.fullmatch(before) and (root / "versions" / before).is_dir():
            return before
    return None


def note_replaced(folder: Path, name: str | None) -> None:
    """Record which version this one replaces."""
    with (folder / BEFORE).open("x", encoding="utf-8") as file:
        file.write(name or "")
        file.flush()
        # Synced before the switch: after a power cut a rollback would otherwise find no version to go back to.
        os.fsync(file.fileno())


def switch(root: Path, name: str) -> None:
    """Point ``current`` to a version by one atomic rename."""
    link = root / f"{NEW_LINK}{os.getpid()}"
    # A symbolic link cannot be changed in place; renaming a new one over it is atomic.
    link.symlink_to(Path("versions") / name)
    try:
        link.replace(root / "current")
    except BaseException:
        # A signal may come right after the rename: then the link is gone, and must not hide why this ends.
        link.unlink(missing_ok=True)
        raise
    # A rename survives a power cut only once its folder is synced.
    sync_folder(root)


def prune(root: Path, keep: int) -> list[str]:
    """Remove the oldest versions beyond ``keep``, but not the one served nor the one before it."""
    now = served(root)
    kept = {now, replaced_by(root, now or "")}
    # Names begin with the time of the deploy, so they sort by age.
    names = sorted(place.name for place in (root / "versions").iterdir() if VERSION.fullmatch(place.name))
    old = [name for name in names if name not in kept][: max(0, len(names) - keep)]
    for name in old:
        doomed = root / "versions" / f"{INCOMING}removed-{name}"
        # Renamed first, so that a half-removed version never looks like a whole one.
        with contextlib.suppress(OSError):
            (root / "versions" / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return old


def clear_stale(root: Path) -> None:
    """Delete what killed deploys left; the lock is held, so none of it is in use."""
    for place in (root / "versions").iterdir():
        if place.name.startswith(INCOMING):
            shutil.rmtree(place, ignore_errors=True)
    for place in root.iterdir():
        if place.name.startswith(NEW_LINK):
            place.unlink()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """The lock that allows one deploy at a time; the system releases it if the deploy is killed."""
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        ends = time.monotonic() + LOCK_S
        while not _has_lock(descriptor):
            if time.monotonic() > ends:
                raise RefusedError(f"another deploy to {root} is under way", "wait until it is done")
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _has_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
