"""A dataset: three disjoint splits."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekd.data.augment import Augment
from edgekd.data.scan import UNKNOWN
from edgekd.data.stored import Chosen, Images, Joined
from edgekd.data.value_range import InUnits, ValueRange
from edgekd.ondevice.sizes import Size, size_of

# With these the uint8 image itself is the quantized input (scale 1/64, zero point 128), and nothing is rounded.
PIXEL_CENTRE, PIXEL_SCALE = 128.0, 64.0


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        images: uint8 pixels, shape ``(count, height, width, channels)``, in memory or on disk.
        labels: class numbers, int64, shape ``(count,)``.
        uncropped: the same images with a margin, for augmentations that crop; None: no margin.
        unit: what the pixels are levels of; None: they are what the files take.
    """

    images: Images
    labels: Tensor
    uncropped: Images | None = None
    unit: ValueRange | None = None

    @property
    def given(self) -> Images | InUnits:
        """The images as an exported file takes them."""
        return self.images if self.unit is None else InUnits(self.images, self.unit)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, numbers: Tensor) -> "Split":
        """Those images alone; nothing is copied."""
        uncropped = None if self.uncropped is None else Chosen(self.uncropped, numbers)
        return Split(Chosen(self.images, numbers), self.labels[numbers], uncropped, self.unit)

    def without_labels(self) -> "Split":
        """The same images, of which nobody has said what they show."""
        return replace(self, labels=torch.full_like(self.labels, UNKNOWN))

    def and_then(self, other: "Split") -> "Split":
        """These images and others of the same size; nothing is copied."""
        uncropped = None
        if self.uncropped is not None and other.uncropped is not None:
            uncropped = Joined(self.uncropped, other.uncropped)
        return Split(Joined(self.images, other.images), torch.cat([self.labels, other.labels]), uncropped, self.unit)

    def fingerprint(self) -> str:
        """SHA-256 over every pixel, without margins, and every label."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for block in itertools.chain(blocks(self.images), [self.labels.numpy()]):
            digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits.

    ``train`` is trained on, ``val`` decides, ``test`` is only for the report. ``augment`` changes float batches.

    Args:
        notes: sentences about the images for the report.
        known_fingerprint: the fingerprint, if it was just computed over the same files.
        balance: in training every class is drawn equally often.
        pictures: images of which nobody has said what they show; their labels are all ``UNKNOWN``.
        all_labels: the dataset as it was before labels were taken away, without pictures from elsewhere.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    augment: Augment
    notes: tuple[str, ...] = ()
    known_fingerprint: str | None = None
    balance: bool = False
    pictures: Split | None = None
    all_labels: "Dataset | None" = None

    @property
    def seen(self) -> Split:
        """Every training image, with a label or without."""
        return self.train if self.pictures is None else self.train.and_then(self.pictures)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return int(self.train.images.shape[3])

    @property
    def unit(self) -> ValueRange | None:
        """What the pixels are levels of; None: they are what the files take."""
        return self.train.unit

    @property
    def image_size(self) -> Size:
        return size_of(*self.train.images.shape[1:3])

    def fingerprint(self) -> str:
        """SHA-256 over every pixel and label of the three splits."""
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        digest = hashlib.sha256(repr(self.class_names).encode())
        if self.unit is not None:
            digest.update(repr(tuple(self.unit)).encode())
        for split in (self.train, self.val, self.test):
            # With margins, because augmentation shows them to the network.
            images = split.images if split.uncropped is None else split.uncropped
            # The same bytes in another shape are other images.
            digest.update(repr(tuple(images.shape)).encode())
            for block in itertools.chain(blocks(images), [split.labels.numpy()]):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()


def blocks(images: Images, size_bytes: int = 2**23) -> Iterator[np.ndarray[Any, Any]]:
    """Every image in order, some megabytes at a time."""
    # In blocks, because images on disk may not fit into memory.
    rows = max(1, size_bytes // math.prod(images.shape[1:]))
    for start in range(0, len(images), rows):
        yield images[start : start + rows].numpy()
