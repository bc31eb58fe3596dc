"""The lock of ``exports/<name>/``: one process at a time changes it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgekd.config.progress import Progress
from edgekd.store import lock
from edgekd.store.disk import disk_errors
from edgekd.store.lock import LOCK


@contextlib.contextmanager
def alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of ``exports/<name>/``; if another process holds it, report that once and wait."""
    # Resolved, so that two spellings of a folder have one lock.
    place = folder.resolve()

    def waiting(who: str) -> None:
        progress.note(f"another run is writing {folder} ({who}); waiting")

    with contextlib.ExitStack() as stack:
        with disk_errors(folder):
            # The lock file lies beside the folder, not inside: a finished bundle replaces the whole folder, and a lock
            # inside would go with it.
            stack.enter_context(lock.held(place.with_name(f".{place.name}{LOCK}"), waiting))
        yield
