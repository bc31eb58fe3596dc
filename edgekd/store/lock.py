"""Locks between processes: files that the system locks, so that a lock ends with its process however that ends."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = ".lock"
"""Ends the name of a file whose lock is held by who changes what it stands beside."""


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[str], None], *, shared: bool = False) -> Iterator[None]:
    """Hold a file's lock; where another process has it, say so once and wait."""
    file = take(path, shared=shared, waiting=waiting)
    assert file is not None
    try:
        yield
    finally:
        release(path, file)


def take(path: Path, *, shared: bool = False, waiting: Callable[[str], None] | None = None) -> int | None:
    """Lock a file, made where it is missing.

    Args:
        path: says what is locked; nobody but this module may delete it.
        shared: several processes may hold it at once, none of which wants it alone.
        waiting: told once who holds it (``pid 1234``); this function then waits. None: it does not wait.

    Returns:
        What ``release`` takes; None where another process holds it and nobody waits.

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
    """Give a lock back; its file goes with it unless others hold it too."""
    with contextlib.suppress(OSError):
        # Deleted only under the exclusive lock: while others share it the attempt fails, and the last of them deletes
        # the file.
        if _locked(file, shared=False) and _is_at(path, file):
            path.unlink()
    os.close(file)


def holder(path: Path) -> str | None:
    """Who holds a lock, or shares it, as ``pid 1234``; None where nobody does, or where it cannot be asked."""
    try:
        file = _opened(path)
    except OSError:
        return None
    try:
        return None if _locked(file, shared=False) else _named(file)
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    """Open for writing, without which NFS grants no exclusive lock; for reading where the file is another user's."""
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
    """Ctrl-C ends it: Python runs signal handlers in between."""
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
