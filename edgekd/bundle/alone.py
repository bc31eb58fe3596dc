"""One process at a time changes ``exports/<name>/``."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgekd.config.progress import Progress
from edgekd.store import lock
from edgekd.store.disk import disk_errors
from edgekd.store.lock import LOCK


@contextlib.contextmanager
def alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of ``exports/<name>/``; where another process has it, say so once and wait."""
    # Resolved, so that two spellings of a folder have one lock.
    place = folder.resolve()

    def waiting(who: str) -> None:
        progress.note(f"another run is writing {folder} ({who}); waiting")

    with contextlib.ExitStack() as stack:
        with disk_errors(folder):
            # Beside the folder, not inside: a finished bundle takes the place of the folder, and the lock would go with
            # the old one.
            stack.enter_context(lock.held(place.with_name(f".{place.name}{LOCK}"), waiting))
        yield
