"""Lock files between processes, locked by the system: a lock is released however its process ends."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = ".lock"
"""Suffix of a lock file, held by the process that changes the folder of the same name."""


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[str], None], *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file; if another process holds it, report that once and wait."""
    file = take(path, shared=shared, waiting=waiting)
    assert file is not None
    try:
        yield
    finally:
        release(path, file)


def take(path: Path, *, shared: bool = False, waiting: Callable[[str], None] | None = None) -> int | None:
    """Lock a file, which is created if missing.

    Args:
        path: the lock file; only this module may delete it.
        shared: several processes may hold it at once, while none holds it exclusively.
        waiting: called once with its holder (``pid 1234``) before this function waits. None: it does not wait.

    Returns:
        A descriptor for ``release``; None if another process holds the lock and ``waiting`` is None.

    Raises:
        OSError: the file cannot be made or locked.
    """
    while True:
        # O_NOFOLLOW: through a link in the place of the lock a file elsewhere would be created and overwritten.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _locked(file, shared):
                if waiting is None:
                    os.close(file)
                    return None
                waiting(_named(file))
                # Reported once: a waiter that finds the file deleted starts over, and may have to wait again.
                waiting = _silent
                _wait(file, shared)
            if _is_at(path, file):
                _name(file)
                return file
        except BaseException:
            os.close(file)
            raise
        # A race: its last holder deleted the file between open and lock, so that this lock is on a file without a name.
        # Start over with the file that is there now.
        os.close(file)


def release(path: Path, file: int) -> None:
    """Release a lock, and delete its file unless others share it."""
    with contextlib.suppress(OSError):
        # Deleted only under the exclusive lock: while others share it the attempt fails, and the last of them deletes
        # the file.
        if _locked(file, shared=False) and _is_at(path, file):
            path.unlink()
    os.close(file)


def holder(path: Path) -> str | None:
    """The holder of a lock, as ``pid 1234``; None if it is free or the file cannot be opened."""
    try:
        file = _opened(path)
    except OSError:
        return None
    try:
        return None if _locked(file, shared=False) else _named(file)
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    """Opened for writing, without which NFS grants no exclusive lock; for reading if the file is another user's."""
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _silent(_holder: str) -> None:
    pass


def _locked(file: int, shared: bool) -> bool:
    # Imported here, so that everything else works where there is no such module.
    import fcntl

    try:
        # Not lockf: its locks end when the process closes any descriptor of the file, as ``holder`` does, and do not
        # keep two holders within one process apart. Both kinds end with the process, so a killed run leaves none.
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(file: int, shared: bool) -> None:
    """Wait for the lock; Ctrl-C interrupts it, because Python runs signal handlers meanwhile."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _name(file: int) -> None:
    # On a full disk the lock holds without a name.
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, f"pid {os.getpid()}".encode(), 0)


def _named(file: int) -> str:
    text = os.pread(file, 100, 0).decode("ascii", "replace")
    # This text reaches the terminal, and the file may be another user's: nothing else in it is shown.
    return text if re.fullmatch(r"pid \d+", text) else "pid unknown"
