"""Finds files that are byte for byte the same, and keeps them in one split."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.config.progress import Progress
from edgekd.data.scan import File
from edgekd.data.splits import hold_out_each
from edgekd.errors import DataError

Numbers = np.ndarray[Any, Any]
HELD_OUT = 0.2
"""Share of all images that becomes test, and of the rest that becomes val."""


def first_alike(root: Path, files: Sequence[File], progress: Progress) -> Numbers:
    """For every file the index of the first identical one; only files of equal size are read."""
    sizes = np.array([file.size for file in files])
    values, counts = np.unique(sizes, return_counts=True)
    # Empty files are broken, not copies of each other.
    candidates = np.flatnonzero(np.isin(sizes, values[(counts > 1) & (values > 0)]))
    digests = np.zeros(len(candidates), np.uint64)
    for done, number in enumerate(candidates.tolist()):
        digests[done] = _digest(root / files[number].path)
        progress.work("comparing images", done + 1, len(candidates))
    found = np.arange(len(files))
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    found[candidates] = candidates[first[group]]
    return found


def _digest(path: Path) -> int:
    """64 bits of BLAKE2 of the file; of its name if it cannot be read, which is reported when it is decoded."""
    try:
        content = path.read_bytes()
    except OSError:
        content = bytes(path)
    # 64 bits are enough: a million files have a chance of 3 in 100 million that any two collide.
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def set_apart(
    numbers: Numbers, files: Sequence[File], alike: Numbers, names: Sequence[str], where: Path, least: int
) -> tuple[Numbers, Numbers]:
    """Split files into those that stay and those held out: a fixed share of each class, copies together.

    Args:
        numbers: indices of the files to split.
        files: all files.
        alike: for every file the index of its first copy.
        names: of the classes.
        where: for errors.
        least: number of different images that every class must have.

    Raises:
        DataError: a class has too few.
    """
    firsts = np.unique(alike[numbers])
    labels = np.array([files[number].label for number in firsts])
    for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True):
        if count < least:
            images = "1 image" if count == 1 else f"{count} different images"
            problem = f"the class {name!r} has {images}, too few for every split to have one"
            raise DataError(str(where), problem, f"give it {least} or more, or remove its folder")
    held_out = firsts[hold_out_each(labels, HELD_OUT)[1]]
    # Copies follow the first of them: in another split they would test the network on its training images.
    apart = np.isin(alike[numbers], held_out)
    return numbers[~apart], numbers[apart]


def copies_note(files: Sequence[File], alike: Numbers) -> list[str]:
    """Notes about copies, if the splits were made here."""
    copies = np.flatnonzero(alike != np.arange(len(files)))
    labels = np.array([file.label for file in files])
    torn = int((labels[copies] != labels[alike[copies]]).sum())
    found = [f"{_images(len(copies))} copied from another; copies are in one split"] if len(copies) else []
    return found + ([f"{_images(torn)} the same as one of another class"] if torn else [])


def leak_notes(parts: dict[str, list[File]], alike: dict[str, Numbers]) -> list[str]:
    """Notes about images of val and test that are in train as well, if the splits were given."""
    notes = []
    for part in ("val", "test"):
        leaked = int(np.isin(alike[part], alike["train"]).sum()) if part in parts else 0
        if leaked:
            notes.append(
                f"{leaked:,} of {len(parts[part]):,} {part} images {'is' if leaked == 1 else 'are'} also in train"
            )
    return notes


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"
