"""A bounded folder of finished folders: written beside and renamed into place, the least recently used goes first."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edgekd.errors import DataError

SEAL = "about.json"
"""Written last into a folder; its time of change is when the folder was last used."""
_WRITING, _LOCK = ".writing-", "lock"
_KEY = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


def default_place() -> Path:
    """``$XDG_CACHE_HOME/edgekd`` or ``~/.cache/edgekd``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
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
        with contextlib.suppress(OSError):  # somebody else's folder may be read, and nobody need touch it
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
        with self._disk_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._make_room(needed)
                folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self.root))
                held = _hold(folder / _LOCK, needed)
        try:
            with self._disk_errors():
                yield folder
                (folder / _LOCK).unlink()
                self._place(folder, self.root / key)
        finally:
            os.close(held)
            shutil.rmtree(folder, ignore_errors=True)

    def read_or_drop(self, key: str, read: Callable[[Path], T | None]) -> T | None:
        """What a folder holds; it is deleted where that is nothing. Who reads from it may go on.

        Meanwhile no process deletes or begins a folder: what another one has just placed is read, not deleted.
        """
        folder = self.root / key
        if not folder.exists():
            return None
        with self._disk_errors(), self._locked():
            found = read(folder)
            if found is None and folder.exists():
                self._delete(folder)
            return found

    def _check_fits(self, needed: int) -> None:
        if needed > self.bound:
            problem = f"the resized images need {needed / 1e9:.3g} GB, more than cache_gb ({self.bound / 1e9:.3g})"
            raise DataError("data.cache_gb", problem, "raise it, or lower image_size")

    def _make_room(self, needed: int) -> None:
        for folder in self.root.glob(f"{_WRITING}*"):
            if _left_behind(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)
        being_written = sum(_reserved(folder / _LOCK) for folder in self.root.glob(f"{_WRITING}*"))
        if being_written + needed > self.bound:
            raise DataError(
                "data.cache_gb", "other runs are writing as much as it allows", "raise it, or wait for them"
            )
        going = self._least_recently_used(being_written + needed)
        if shutil.disk_usage(self.root).free + sum(map(_size, going)) < needed:
            raise DataError(str(self.root), f"the disk has no room for {needed / 1e9:.3g} GB", "set data.cache")
        for folder in going:
            self._delete(folder)

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

    def _delete(self, folder: Path) -> None:
        """Renamed first, so that nobody finds half of it."""
        away = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self.root))
        folder.rename(away / folder.name)
        shutil.rmtree(away, ignore_errors=True)

    def _place(self, folder: Path, final: Path) -> None:
        folder.chmod(0o755)
        try:
            folder.rename(final)
        except OSError:
            if not (final / SEAL).is_file():  # otherwise another process was faster, with the same result
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        file = _hold(self.root / _LOCK)
        try:
            yield
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"cannot be written ({(error.strerror or str(error)).lower()})"
            raise DataError(str(self.root), problem, "set data.cache to a folder with room") from None


def _hold(path: Path, reserved: int | None = None) -> int:
    """A lock that ends with its process or when what is returned is closed; and how many bytes are spoken for."""
    import fcntl  # here, so that everything else works where there is no such module

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX)
    if reserved is not None:
        os.write(file, str(reserved).encode())
    return file


def _left_behind(lock: Path) -> bool:
    import fcntl

    try:
        file = os.open(lock, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _reserved(lock: Path) -> int:
    try:
        return int(lock.read_text())
    except (OSError, ValueError):
        return 0


def _last_used(folder: Path) -> float:
    try:
        return (folder / SEAL).stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
