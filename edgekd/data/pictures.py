"""Pictures without labels: from a folder, or training images whose labels are taken away."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd.config.progress import Progress
from edgekd.data.cache import SEAL, Cache
from edgekd.data.dataset import Dataset, Split, blocks
from edgekd.data.decode import Plan, Reader
from edgekd.data.scan import UNKNOWN, File, scan_pictures
from edgekd.data.splits import hold_out_each
from edgekd.data.stored import StoredImages
from edgekd.errors import DataError
from edgekd.ondevice.sizes import sides, size_of

STORE_VERSION = 1
PIXELS = "pictures.pixels"


class _About(BaseModel):
    """Description of stored pictures; ``fingerprint`` is that of the split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    notes: tuple[str, ...]
    fingerprint: str


def with_pictures(
    data: Dataset, folder: Path, cache: Cache, rule: Literal["crop", "stretch"], skip_bad: bool, progress: Progress
) -> Dataset:
    """The dataset with a folder's pictures beside it, without those that are in ``val`` or ``test``.

    Args:
        data: decides their size, margin and channels.
        folder: read with everything below it.
        cache: of resized images.
        rule: how a picture is brought to size.
        skip_bad: leave out what cannot be read.
        progress: informed about reading them.

    Raises:
        DataError: there are none, or one cannot be read.
    """
    size, channels = data.image_size, data.in_channels
    stored = size if data.train.uncropped is None else size_of(*data.train.uncropped.shape[1:3])
    plan = Plan(size, stored, 1 if channels == 1 else 3, rule, skip_bad)
    if channels not in (1, 3) or data.unit is not None:
        found = f"{channels}" if data.unit is None else "numbers of a range of its own"
        raise DataError(str(folder), f"pictures have 1 or 3 channels of 8 bits, the dataset {found}", "leave it out")
    about, whole = _stored(folder, cache, plan, progress)
    pictures, told = _apart(whole, data)
    if len(pictures) == 0:
        raise DataError(str(folder), "no picture is left", "add pictures that are in neither val nor test")
    return replace(
        data,
        pictures=pictures if data.pictures is None else data.pictures.and_then(pictures),
        notes=(*data.notes, *about.notes, *told),
        known_fingerprint=_digest(data.fingerprint(), _fingerprint(pictures)),
    )


def with_few_labels(data: Dataset, share: float) -> Dataset:
    """The dataset with that share of its training labels (0..1), every class alike, at least one of each.

    With a share of 0 no label is left. The other images stay, without labels.
    """
    if share:
        taken, kept = (torch.from_numpy(part) for part in hold_out_each(data.train.labels.numpy(), share))
    else:
        taken, kept = torch.arange(len(data.train)), torch.arange(0)
    pictures, told = _apart(data.train.at(taken).without_labels(), data)
    return replace(
        data,
        train=data.train.at(kept),
        pictures=pictures,
        all_labels=data,
        notes=(*data.notes, *told),
        known_fingerprint=_digest(data.fingerprint(), f"{share!r}"),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _apart(pictures: Split, data: Dataset) -> tuple[Split, list[str]]:
    """The pictures that neither val nor test has, and a note on the others."""
    judged = np.concatenate([_marks(split) for split in (data.val, data.test)])
    alike = np.isin(_marks(pictures), judged)
    count = int(alike.sum())
    if not count:
        return pictures, []
    images = "1 picture without a label is" if count == 1 else f"{count:,} pictures without labels are"
    return pictures.at(torch.from_numpy(np.flatnonzero(~alike))), [f"{images} in val or test too, and left out"]


def _marks(split: Split) -> np.ndarray[Any, Any]:
    """64 bits of BLAKE2 over each image's pixels, without its margin."""
    found = [_mark(image) for block in blocks(split.images) for image in block]
    return np.array(found, np.uint64)


def _mark(image: np.ndarray[Any, Any]) -> int:
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest(), "little")


def _stored(folder: Path, cache: Cache, plan: Plan, progress: Progress) -> "_Stored":
    """The resized pictures from the cache, written there first if necessary."""
    files, notes = scan_pictures(folder, skip_bad=plan.skip_bad)
    key = hashlib.sha256(repr((STORE_VERSION, "pictures", plan, files)).encode()).hexdigest()
    kept = cache.find(key)
    found = _read(kept, plan) if kept else None
    found = found or cache.read_or_drop(key, lambda place: _read(place, plan))
    return found or _write(cache, key, folder, files, notes, plan, progress)


def _write(
    cache: Cache, key: str, root: Path, files: list[File], notes: list[str], plan: Plan, progress: Progress
) -> "_Stored":
    """Fill a folder of the cache, and open it before it is in place, where another process may evict it."""
    reader, count = Reader(root, plan, len(files), progress), 0
    with cache.writing(key, len(files) * math.prod(sides(plan.train_size)) * plan.channels + 2**20) as beside:
        with (beside / PIXELS).open("wb") as pixels:
            for image, _ in reader.images(files, "train"):
                pixels.write(np.ascontiguousarray(image).data)
                count += 1
        fingerprint = _fingerprint(_opened(beside, plan, count))
        about = _About(count=count, notes=(*notes, *reader.notes()), fingerprint=fingerprint)
        (beside / SEAL).write_text(about.model_dump_json(), encoding="utf-8")
        return about, _opened(beside, plan, count)


def _read(folder: Path, plan: Plan) -> "_Stored | None":
    """What a folder of the cache holds; None if any byte has changed."""
    try:
        about = _About.model_validate_json((folder / SEAL).read_text(encoding="utf-8"))
        pictures = _opened(folder, plan, about.count)
    except (OSError, ValidationError, DataError):
        return None
    return (about, pictures) if _fingerprint(pictures) == about.fingerprint else None


def _opened(folder: Path, plan: Plan, count: int) -> Split:
    stored, labels = plan.train_size, torch.full((count,), UNKNOWN)
    images = StoredImages(folder / PIXELS, (count, *sides(stored), plan.channels), stored)
    return Split(images, labels) if stored == plan.size else Split(images.middle(plan.size), labels, images)


def _fingerprint(pictures: Split) -> str:
    """Over the pictures with their margins, which augmentation shows to the network."""
    whole = pictures.images if pictures.uncropped is None else pictures.uncropped
    return Split(whole, pictures.labels).fingerprint()


_Stored = tuple[_About, Split]
