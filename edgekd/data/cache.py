"""A size-bounded cache of folders, renamed into place when complete; the least recently used is evicted first."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edgekd.errors import DataError
from edgekd.store import lock
from edgekd.store.disk import disk_errors
from edgekd.store.folder import delete, written_beside

SEAL = "about.json"
"""Written last into a folder; its modification time says when the folder was last used."""
_WRITING, _LOCK, _RESERVED = ".writing-", "lock", "reserved"
ELSEWHERE = "set data.cache to a folder with room"
_KEY = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


def default_place() -> Path:
    """``$XDG_CACHE_HOME/edgekd`` or ``~/.cache/edgekd``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG standard requires relative paths to be ignored.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "edgekd"


class Cache:
    """Folders by key. Several processes may use it at once, and any of them may be killed.

    Args:
        root: created if missing; other files there are left alone.
        bound: largest total size in bytes.
    """

    def __init__(self, root: Path, bound: int) -> None:
        self.root, self.bound = root, bound

    def find(self, key: str) -> Path | None:
        """The folder of a key, marked as just used; None if there is none."""
        folder = self.root / key
        if not (folder / SEAL).is_file():
            return None
        # Another user's folder may be readable although its time cannot be set.
        with contextlib.suppress(OSError):
            os.utime(folder / SEAL)
        return folder

    @contextlib.contextmanager
    def writing(self, key: str, needed: int) -> Iterator[Path]:
        """A new folder to fill, ``SEAL`` last; renamed into place on exit.

        Args:
            key: 64 hexadecimal digits.
            needed: largest size it may get, in bytes; older folders are evicted to make room.

        Raises:
            DataError: it needs more than the bound, or the disk refuses.
        """
        self._check_fits(needed)
        with contextlib.ExitStack() as stack:
            # Room is reserved and the folder locked under the lock of the cache: processes that start together must not
            # overfill the disk together, and a folder that nobody holds would be cleared away as a killed process's.
            with self._locked():
                self._make_room(needed)
                folder = stack.enter_context(written_beside(self.root / key, _WRITING, DataError, ELSEWHERE))
                (folder / _RESERVED).write_text(str(needed), encoding="ascii")
                held = lock.take(folder / _LOCK)
                assert held is not None
                stack.callback(lock.release, folder / _LOCK, held)
            yield folder
            (folder / _RESERVED).unlink()
            # Under the lock of the cache: between releasing its own lock and the rename the folder looks like one that
            # a killed process left.
            with self._locked():
                stack.close()

    def read_or_drop(self, key: str, read: Callable[[Path], T | None]) -> T | None:
        """What ``read`` makes of a folder; a folder of which it makes None is deleted. Open readers are not disturbed.

        The cache is locked meanwhile, so that a folder which another process has just repaired is read, not deleted.
        """
        folder = self.root / key
        if not folder.exists():
            return None
        with self._locked():
            found = read(folder)
            if found is None and folder.exists():
                _drop(folder)
            return found

    def _check_fits(self, needed: int) -> None:
        if needed > self.bound:
            problem = f"the resized images need {needed / 1e9:.3g} GB, more than cache_gb ({self.bound / 1e9:.3g})"
            raise DataError("data.cache_gb", problem, "raise it, or lower image_size")

    def _make_room(self, needed: int) -> None:
        for folder in self.root.glob(f"{_WRITING}*"):
            if lock.holder(folder / _LOCK) is None:
                shutil.rmtree(folder, ignore_errors=True)
        # All checks come before the first deletion: a refused request must not cost anybody a folder.
        being_written = sum(_reserved(folder) for folder in self.root.glob(f"{_WRITING}*"))
        if being_written + needed > self.bound:
            raise DataError(
                "data.cache_gb", "other runs are writing as much as it allows", "raise it, or wait for them"
            )
        going = self._least_recently_used(being_written + needed)
        if shutil.disk_usage(self.root).free + sum(map(_size, going)) < needed:
            raise DataError(str(self.root), f"the disk has no room for {needed / 1e9:.3g} GB", "set data.cache")
        for folder in going:
            _drop(folder)

    def _least_recently_used(self, wanted: int) -> list[Path]:
        """The folders to evict for so many bytes."""
        whole = sorted((f for f in self.root.iterdir() if _KEY.fullmatch(f.name)), key=_last_used)
        left, going = sum(map(_size, whole)), []
        for folder in whole:
            if left + wanted <= self.bound:
                break
            going.append(folder)
            left -= _size(folder)
        return going

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with disk_errors(self.root, DataError, ELSEWHERE):
            self.root.mkdir(parents=True, exist_ok=True)
            with lock.held(self.root / _LOCK, lambda _: None):
                yield


def _drop(folder: Path) -> None:
    # What cannot be deleted now is cleared away later, or still counts towards the bound.
    with contextlib.suppress(OSError):
        delete(folder, _WRITING)


def _reserved(folder: Path) -> int:
    try:
        return int((folder / _RESERVED).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _last_used(folder: Path) -> float:
    try:
        return (folder / SEAL).stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
