"""One process at a time changes ``exports/<name>/``."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgekd import lock
from edgekd.disk import disk_errors
from edgekd.lock import LOCK
from edgekd.runtime import Progress


@contextlib.contextmanager
def alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of ``exports/<name>/``; where another process has it, say so once and wait."""
    place = folder.resolve()

    def waiting(who: str) -> None:
        progress.note(f"another run is writing {folder} ({who}); waiting")

    with contextlib.ExitStack() as stack:
        with disk_errors(folder):
            stack.enter_context(lock.held(place.with_name(f".{place.name}{LOCK}"), waiting))
        yield
