"""A bounded folder of finished folders: written beside and renamed into place, the least recently used goes first."""

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
"""Written last into a folder; its time of change is when the folder was last used."""
_WRITING, _LOCK, _RESERVED = ".writing-", "lock", "reserved"
ELSEWHERE = "set data.cache to a folder with room"
_KEY = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


def default_place() -> Path:
    """``$XDG_CACHE_HOME/edgekd`` or ``~/.cache/edgekd``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG standard has relative paths ignored.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "edgekd"


class Cache:
    """Folders by key. Several processes may use it at once, and any of them may be killed.

    Args:
        root: made where it is missing; whatever else lies there is left alone.
        bound: most bytes that all folders together may have.
    """

    def __init__(self, root: Path, bound: int) -> None:
        self.root, self.bound = root, bound

    def find(self, key: str) -> Path | None:
        """The folder of a key, now the most recently used; None where there is none."""
        folder = self.root / key
        if not (folder / SEAL).is_file():
            return None
        # Another user's folder can be read, but its time cannot be set.
        with contextlib.suppress(OSError):
            os.utime(folder / SEAL)
        return folder

    @contextlib.contextmanager
    def writing(self, key: str, needed: int) -> Iterator[Path]:
        """A fresh folder to fill, ``SEAL`` last; on leaving it is renamed into place.

        Args:
            key: 64 hexadecimal digits.
            needed: bytes it will have at most; older folders are deleted to make room for them.

        Raises:
            DataError: it needs more than the bound, or the disk refuses.
        """
        self._check_fits(needed)
        with contextlib.ExitStack() as stack:
            # The reservation and the lock of the folder are made under the lock of the cache: processes that start
            # together must not fill the disk together, and whatever folder nobody holds is cleared away as left by a
            # killed process.
            with self._locked():
                self._make_room(needed)
                folder = stack.enter_context(written_beside(self.root / key, _WRITING, DataError, ELSEWHERE))
                (folder / _RESERVED).write_text(str(needed), encoding="ascii")
                held = lock.take(folder / _LOCK)
                assert held is not None
                stack.callback(lock.release, folder / _LOCK, held)
            yield folder
            (folder / _RESERVED).unlink()
            # Under the lock of the cache: between the end of its own lock and its rename the folder would look like one
            # that a killed process left.
            with self._locked():
                stack.close()

    def read_or_drop(self, key: str, read: Callable[[Path], T | None]) -> T | None:
        """What a folder holds; it is deleted where that is nothing. Who reads from it may go on.

        Meanwhile no process deletes or begins a folder: what another one has just placed is read, not deleted.
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
        # Everything is worked out before anything is deleted: a request that is refused must cost no folder.
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
        """The folders that must go for so many bytes."""
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
    # What cannot be deleted has its temporary name by then and is cleared away later, or still counts.
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
