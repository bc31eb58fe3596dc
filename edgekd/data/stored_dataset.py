"""A dataset in a folder on disk: three files of pixels, three of labels, and a description.

It is used only if its fingerprint, computed again over every byte, is the recorded one.
"""

import hashlib
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd.data.augment import Augment, no_augment
from edgekd.data.cache import SEAL
from edgekd.data.dataset import Dataset, Split
from edgekd.data.stored import StoredImages
from edgekd.errors import DataError
from edgekd.ondevice.sizes import Size, sides

PARTS = ("train", "val", "test")


class About(BaseModel):
    """The description of a stored dataset.

    Args:
        class_names: in the order of their numbers.
        counts: images of train, val and test.
        image_size: of what a model sees.
        train_size: of a stored training image; larger where augmentation crops it.
        channels: 1 or 3.
        notes: for the report.
        fingerprint: the dataset's own.
        seal: SHA-256 over all of the above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    image_size: Size
    train_size: Size
    channels: int
    notes: tuple[str, ...]
    fingerprint: str = ""
    seal: str = ""

    def sealed(self) -> "About":
        """A copy with its own checksum as ``seal``."""
        text = self.model_copy(update={"seal": ""}).model_dump_json()
        return self.model_copy(update={"seal": hashlib.sha256(text.encode()).hexdigest()})


class PartWriter:
    """Appends one split's images and labels to their files.

    Args:
        folder: receives the two files.
        part: train, val or test.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self._labels, self._labels_path = array("q"), folder / f"{part}.labels.npy"
        self._pixels = (folder / f"{part}.pixels").open("wb")

    def add(self, pixels: np.ndarray[Any, Any], label: int) -> None:
        self._pixels.write(np.ascontiguousarray(pixels).data)
        self._labels.append(label)

    def labels(self) -> np.ndarray[Any, Any]:
        """Every label, in order."""
        return np.array(self._labels, np.int64)

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._pixels.close()
        np.save(self._labels_path, self.labels())


def seal(folder: Path, about: About) -> None:
    """Write the description with the fingerprint, which makes the folder complete."""
    fingerprint = _dataset(folder, about).fingerprint()
    finished = about.model_copy(update={"fingerprint": fingerprint}).sealed()
    (folder / SEAL).write_text(finished.model_dump_json(), encoding="utf-8")


def read_stored(folder: Path, augment: Augment) -> Dataset | None:
    """The dataset in a folder; None if any byte has changed."""
    try:
        about = About.model_validate_json((folder / SEAL).read_text(encoding="utf-8"))
        data = _dataset(folder, about)
        whole = about == about.sealed() and data.fingerprint() == about.fingerprint
    # np.load raises EOFError for an empty file, ValueError for a damaged one.
    except (OSError, ValueError, ValidationError, EOFError, DataError):
        return None
    return replace(data, augment=augment, known_fingerprint=about.fingerprint) if whole else None


def _dataset(folder: Path, about: About) -> Dataset:
    train, val, test = (_split(folder, part, about) for part in PARTS)
    return Dataset("folder", about.class_names, train, val, test, no_augment, about.notes)


def _split(folder: Path, part: str, about: About) -> Split:
    count, size = about.counts[PARTS.index(part)], about.train_size if part == "train" else about.image_size
    shape = (count, *sides(size), about.channels)
    labels = torch.from_numpy(np.load(folder / f"{part}.labels.npy", allow_pickle=False))
    images = StoredImages(folder / f"{part}.pixels", shape, size)
    if size == about.image_size:
        return Split(images, labels)
    return Split(images.middle(about.image_size), labels, uncropped=images)
