"""The dataset ``folder``: images in one folder for each class, resized once and kept on disk."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edgekd.config import PathText
from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.cache import Cache, default_place
from edgekd.data.dataset import Dataset
from edgekd.data.decode import Plan, Reader
from edgekd.data.duplicates import Numbers, copies_note, first_alike, leak_notes, set_apart
from edgekd.data.scan import File, Found, Tally, scan
from edgekd.data.settings import CACHE_GB, OwnSettings
from edgekd.data.splits import SPLIT_SEED
from edgekd.data.stored_dataset import PARTS, About, PartWriter, read_stored, seal
from edgekd.errors import DataError
from edgekd.ondevice.pixels import Pixels, with_margin
from edgekd.ondevice.sizes import sides

STORE_VERSION = 1
"""Part of every key; increased when the same files give other pixels or another layout."""
Parts = dict[str, list[File]]


class Folder(OwnSettings):
    """Images below ``root/<class>/``, or below ``root/train|val|test/<class>/``.

    One tree is split 64/16/20 %, and a missing ``val`` is a fifth of train, each class by itself and by a fixed seed;
    copies of an image stay in one split. The resized images are written to a folder of the cache whose name depends
    on every file's path, size and modification time, and on how it was processed.
    """

    USUAL_AUGMENT: ClassVar[str] = "photo"

    name: Literal["folder"] = "folder"
    root: PathText = Field(description="folder with one folder of images for each class")
    grey: bool = Field(False, description="one channel of brightness in place of three of colour")
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="stop at a file that cannot be read, or leave it out and say so in the report"
    )
    cache: PathText | None = Field(
        None, description="folder of resized images; below ~/.cache/edgekd or $XDG_CACHE_HOME/edgekd unless given"
    )
    cache_gb: float = Field(
        CACHE_GB, gt=0, le=1e9, description="most that folder may hold, in 1e9 bytes; the oldest images go first"
    )

    @property
    def skips_bad(self) -> bool:
        return self.on_bad_image == "skip"

    @property
    def cache_of_pictures(self) -> Cache:
        return Cache(Path(self.cache).expanduser() if self.cache else default_place(), int(self.cache_gb * 1e9))

    def load(self, augment: Augment, progress: Progress) -> Dataset:
        root, plan = Path(self.root).expanduser(), _plan(self)
        found = scan(root, skip_bad=plan.skip_bad, train_needed=self.unlabelled is None)
        data = _stored(self.cache_of_pictures, root, found, plan, augment, progress)
        return replace(data, notes=(*_scan_notes(found), *data.notes))


def _stored(cache: Cache, root: Path, found: Found, plan: Plan, augment: Augment, progress: Progress) -> Dataset:
    """The dataset from the cache, written there first if necessary."""
    key = _key(found, plan)
    place = cache.find(key)
    data = read_stored(place, augment) if place else None
    data = data or cache.read_or_drop(key, lambda folder: read_stored(folder, augment))
    return data or _write(cache, key, root, found, plan, augment, progress)


def _plan(settings: Folder) -> Plan:
    larger = settings.resize == "crop" and settings.augment_name == "photo"
    train_size = with_margin(settings.image_size) if larger else settings.image_size
    return Plan(
        settings.image_size,
        train_size,
        1 if settings.grey else 3,
        settings.resize,
        settings.skips_bad,
    )


def _key(found: Found, plan: Plan) -> str:
    digest = hashlib.sha256(repr((STORE_VERSION, SPLIT_SEED, plan, found.class_names)).encode())
    for part, files in found.parts.items():
        for file in files:
            digest.update(repr((part, *file)).encode())
    return digest.hexdigest()


def _scan_notes(found: Found) -> list[str]:
    return [
        *found.ignored.note("file that is not an image was ignored", "files that are not images were ignored"),
        *found.bad.note("link out of the folder was skipped", "links out of the folder were skipped"),
    ]


def _splits(root: Path, found: Found, progress: Progress) -> tuple[Parts, list[str]]:
    """The files of train, val and test, and what to say of copies among them."""
    files = [file for part in found.parts.values() for file in part]
    alike, names = first_alike(root, files, progress), found.class_names
    if "all" in found.parts:
        rest, test = set_apart(np.arange(len(files)), files, alike, names, root, least=3)
        train, val = set_apart(rest, files, alike, names, root, least=2)
        return {"train": _at(files, train), "val": _at(files, val), "test": _at(files, test)}, copies_note(files, alike)
    ends = np.cumsum([len(part) for part in found.parts.values()])[:-1]
    notes = leak_notes(found.parts, dict(zip(found.parts, np.split(alike, ends), strict=True)))
    if "val" in found.parts:
        return found.parts, notes
    taught = np.arange(len(found.parts["train"]))
    train, val = set_apart(taught, files, alike, names, root / "train", least=2)
    return {"train": _at(files, train), "val": _at(files, val), "test": found.parts["test"]}, notes


def _at(files: Sequence[File], numbers: Numbers) -> list[File]:
    return [files[number] for number in numbers]


def _write(
    cache: Cache, key: str, root: Path, found: Found, plan: Plan, augment: Augment, progress: Progress
) -> Dataset:
    """Fill a folder of the cache, and read it before it is in place, where another process may evict it."""
    parts, notes = _splits(root, found, progress)
    sizes = {part: plan.train_size if part == "train" else plan.size for part in PARTS}
    # Eight bytes per label, and 1 MiB for headers and the description.
    image_bytes = {part: math.prod(sides(size)) * plan.channels + 8 for part, size in sizes.items()}
    needed = sum(len(parts[part]) * size for part, size in image_bytes.items()) + 2**20
    reader = Reader(root, plan, sum(map(len, parts.values())), progress)
    with cache.writing(key, needed) as beside:
        labels = [_write_part(beside, part, reader.images(parts[part], part)) for part in PARTS]
        _check_left(root, found, labels)
        about = About(
            class_names=found.class_names,
            counts=(len(labels[0]), len(labels[1]), len(labels[2])),
            image_size=plan.size,
            train_size=plan.train_size,
            channels=plan.channels,
            notes=(*reader.notes(), *notes, *_absent(found.class_names, labels)),
        )
        seal(beside, about)
        data = read_stored(beside, augment)
        if data is None:
            problem = "does not give back what was written to it"
            raise DataError(str(cache.root), problem, "set data.cache to another disk")
        return data


def _write_part(beside: Path, part: str, images: Iterator[tuple[Pixels, int]]) -> Numbers:
    with PartWriter(beside, part) as writer:
        for pixels, label in images:
            writer.add(pixels, label)
    return writer.labels()


def _check_left(root: Path, found: Found, labels: Sequence[Numbers]) -> None:
    """Raise DataError if skipping left a split or a class empty; where pictures without labels teach, train may be."""
    no_train = found.parts.get("train") == []
    for part, there in zip(PARTS, labels, strict=True):
        if len(there) == 0 and not (part == "train" and no_train):
            raise DataError(str(root), f"no image is left for {part}", "add images")
    for number, name in enumerate(found.class_names):
        if number not in labels[0] and not no_train:
            raise DataError(str(root), f"no training image is left of the class {name!r}", "add images")


def _absent(names: Sequence[str], labels: Sequence[Numbers]) -> list[str]:
    """A note about classes without a test image."""
    absent = Tally()
    for number, name in enumerate(names):
        if number not in labels[PARTS.index("test")]:
            absent.add(name)
    return absent.note("class has no test image", "classes have no test image")
