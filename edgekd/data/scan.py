"""Finds the images below a folder: one folder for each class, perhaps below train/, val/ and test/."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from edgekd.errors import DataError, printable
from edgekd.ondevice.pixels import EXTENSIONS
from edgekd.store.disk import reading

JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin"})
UNKNOWN = -1
"""Class number of a picture whose class nobody has said."""
NAMED = 3
"""Number of file names in a note."""


class File(NamedTuple):
    """An image file: path below the root, class number, size in bytes, modification time."""

    path: str
    label: int
    size: int
    mtime_ns: int


@dataclass
class Tally:
    """How many files something happened to, and the names of the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(printable(name))

    def note(self, one: str, many: str) -> list[str]:
        """A list of one sentence, or of none if nothing happened.

        >>> Tally(4, ["a", "b", "c"]).note("file was ignored", "files were ignored")
        ['4 files were ignored: a, b, c and 1 more']
        """
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        what = f"1 {one}" if self.count == 1 else f"{self.count:,} {many}"
        return [f"{what}: {', '.join(self.first)}{more}"] if self.count else []


@dataclass(frozen=True)
class Found:
    """The images below a root folder.

    Args:
        class_names: sorted; a class's number is its place.
        parts: files, sorted by path, by ``train``, ``val`` (perhaps) and ``test``, or all under ``all``.
        ignored: files whose names are not those of images.
        bad: skipped links that are dangling or lead out of the root.
    """

    class_names: tuple[str, ...]
    parts: dict[str, list[File]]
    ignored: Tally
    bad: Tally


def scan(root: Path, *, skip_bad: bool, train_needed: bool = True) -> Found:
    """Every image below ``root`` by split and class.

    Hidden files and files of file managers are skipped silently; other files without an image's extension are counted.
    Folders below a class belong to it. A folder is read only once per class, however many links lead there.

    Args:
        root: the dataset's folder.
        skip_bad: skip links that are dangling or lead out of the root.
        train_needed: otherwise there may be only ``val/`` and ``test/``, and train is empty.

    Raises:
        DataError: there are no classes, one has no training image, two names differ only in case, a folder
            cannot be read, or there is a bad link.
    """
    walk = _Walk(root, skip_bad)
    places = _places(walk, train_needed)
    folders = {part: dict(walk.classes(place)) for part, place in places.items()}
    names = tuple(sorted({name for found in folders.values() for name in found}))
    _check_names(root, names)
    parts = {part: _files(walk, found, names) for part, found in folders.items()}
    if set(places) == {"val", "test"}:
        return Found(names, {"train": [], **parts}, walk.ignored, walk.bad)
    _check_taught(root / places["train"] if "train" in places else root, names, next(iter(parts.values())))
    return Found(names, parts, walk.ignored, walk.bad)


def scan_pictures(root: Path, *, skip_bad: bool) -> tuple[list[File], list[str]]:
    """Every image below a folder, sorted by path and without a class, and notes on what was ignored or skipped.

    Raises:
        DataError: there is none, a folder cannot be read, or there is a bad link and ``skip_bad`` is false.
    """
    walk = _Walk(root, skip_bad)
    files = sorted(walk.images("", UNKNOWN), key=lambda file: file.path)
    if not files:
        raise DataError(str(root), "holds no image", f"give a folder of pictures ({', '.join(sorted(EXTENSIONS))})")
    return files, walk.bad.note("link out of the folder was skipped", "links out of the folder were skipped")


def _places(walk: "_Walk", train_needed: bool) -> dict[str, str]:
    """Split -> its folder below the root; ``all`` -> the root itself if there are no splits."""
    present = {name for name in ("train", "val", "test") if walk.has_folder(name)}
    if present >= {"train", "test"}:
        return {part: part for part in ("train", "val", "test") if part in present}
    if present == {"val", "test"} and not train_needed:
        return {"val": "val", "test": "test"}
    # A separate walk, so that ignored files are not counted twice.
    others = {name for name, _ in _Walk(walk.root, skip_bad=True).classes("")} - present
    if "train" in present and ("val" in present or not others):
        remedy = "add test/, or put the classes' folders side by side to have them split"
        raise DataError(str(walk.root), "has train/ but no test/", remedy)
    return {"all": ""}


def _files(walk: "_Walk", folders: dict[str, str], names: tuple[str, ...]) -> list[File]:
    found = (file for name, folder in folders.items() for file in walk.images(folder, names.index(name)))
    return sorted(found, key=lambda file: file.path)


def _check_names(root: Path, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        found = f"only one folder of a class ({names[0]!r})" if names else "no folder of a class"
        raise DataError(str(root), f"has {found} in it", "make a folder of images for each class")
    seen: dict[str, str] = {}
    for name in names:
        # Such names usually are one class in two spellings, left by copying between systems; it would silently be
        # learned as two.
        alike = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if alike != name:
            problem = f"the classes {alike!r} and {name!r} differ only in case or in how letters are encoded"
            raise DataError(str(root), problem, "rename one")
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(str(root), f"the name of the class {name!r} is not UTF-8", "rename it")


def _check_taught(place: Path, names: tuple[str, ...], taught: list[File]) -> None:
    labels = {file.label for file in taught}
    for number, name in enumerate(names):
        if number not in labels:
            raise DataError(str(place), f"the class {name!r} has no image there", "add images, or remove its folders")


class _Walk:
    """Reads folders below a root and never leaves it."""

    def __init__(self, root: Path, skip_bad: bool) -> None:
        self.root, self.ignored, self.bad = root, Tally(), Tally()
        self._skip, self._real = skip_bad, os.path.realpath(root)

    def has_folder(self, name: str) -> bool:
        """Is there a folder of that name in the root? A bad link is always an error: it is a whole split."""
        path = self.root / name
        problem = self._astray(path) if path.is_symlink() else None
        if problem is not None:
            raise DataError(str(path), problem, "put the folder there, or remove the link")
        return _is_dir(path)

    def classes(self, place: str) -> Iterator[tuple[str, str]]:
        """Name and path of every class's folder."""
        for entry in self._entries(place):
            path = _below(place, entry)
            kind = self._kind(entry, path)
            if kind == "folder":
                yield entry.name, path
            elif kind == "image":
                self.ignored.add(path)

    def images(self, top: str, label: int) -> Iterator[File]:
        """Every image file of a class."""
        waiting, seen = [top], set()
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(self.root / folder)
            # Links may form a cycle.
            if real in seen:
                continue
            seen.add(real)
            for entry in self._entries(folder):
                path = _below(folder, entry)
                kind = self._kind(entry, path)
                if kind == "folder":
                    waiting.append(path)
                elif kind == "image":
                    about = entry.stat()
                    yield File(path, label, about.st_size, about.st_mtime_ns)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        place = self.root / folder
        remedy = "check data.root and its permissions"
        with reading(place, DataError, remedy, "read as a folder"), os.scandir(place) as entries:
            return sorted((e for e in entries if not _junk(e.name)), key=lambda entry: entry.name)

    def _kind(self, entry: os.DirEntry[str], path: str) -> Literal["folder", "image"] | None:
        """What an entry is; None if it is skipped, in which case it is counted where that matters."""
        folder = _is_dir(Path(entry.path))
        image = Path(entry.name).suffix.lower() in EXTENSIONS
        if (folder or image) and not self._stays(entry, path):
            return None
        if folder:
            return "folder"
        # is_file: reading a FIFO would block for ever.
        if image and entry.is_file():
            return "image"
        self.ignored.add(path)
        return None

    def _stays(self, entry: os.DirEntry[str], path: str) -> bool:
        """Does an entry, after following links, lie below the root? If not, it is an error or skipped."""
        if not entry.is_symlink():
            return True
        problem = self._astray(Path(entry.path))
        if problem is None:
            return True
        if not self._skip:
            raise DataError(str(self.root / path), problem, "put the file there, or set data.on_bad_image: skip")
        self.bad.add(path)
        return False

    def _astray(self, link: Path) -> str | None:
        """What is wrong with a link; None if it leads to something below the root."""
        real = os.path.realpath(link)
        if not real.startswith(self._real + os.sep):
            return "is a link out of the dataset's folder"
        return None if Path(real).exists() else "is a link that leads nowhere"


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    # A link to itself, or something behind a folder that may not be entered.
    except OSError:
        return False


def _below(folder: str, entry: os.DirEntry[str]) -> str:
    return f"{folder}/{entry.name}" if folder else entry.name


def _junk(name: str) -> bool:
    return name.startswith(".") or name.casefold() in JUNK
