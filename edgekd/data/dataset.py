"""What a dataset is: three splits that share no image."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from edgekd.config import PathText, Settings
from edgekd.data.augment import Augment
from edgekd.data.stored import Images
from edgekd.functions import FUNCTION

PIXEL_CENTRE, PIXEL_SCALE = 128.0, 64.0


class DataSettings(Settings):
    """Which images, at which size."""

    name: str = Field("digits", description="dataset: digits, fashion_mnist, cifar10, cifar100, folder, function")
    image_size: int = Field(32, ge=8, le=1024, description="pixels a side; images are resized once")
    augment: Literal["none", "shift_rotate_scale", "crop_flip", "photo"] | None = Field(
        None, description="small random changes of the training images; chosen for the dataset unless given"
    )
    root: PathText | None = Field(None, description="folder that holds the dataset, or receives it")
    download: bool = Field(False, description="fetch the dataset into root where it is not there")
    function: str | None = Field(
        None,
        pattern=FUNCTION,
        description="dataset function: package.module:name, called without arguments",
    )
    resize: Literal["crop", "stretch"] = Field(
        "crop", description="folder, function: keep the middle of the picture, or squeeze all of it into the square"
    )
    grey: bool = Field(False, description="folder: one channel of brightness in place of three of colour")
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="folder: stop at a file that cannot be read, or leave it out and say so in the report"
    )
    cache: PathText | None = Field(
        None, description="folder of resized images; below ~/.cache/edgekd or $XDG_CACHE_HOME/edgekd unless given"
    )
    cache_gb: float = Field(
        20.0, gt=0, le=1e9, description="most that folder may hold, in 1e9 bytes; the oldest images go first"
    )

    @model_validator(mode="after")
    def _names_its_source(self) -> "DataSettings":
        if (self.name == "function") != (self.function is not None):
            raise ValueError("name: function and function: package.module:name go together; give both or neither")
        if self.name == "folder" and self.root is None:
            raise ValueError("name: folder needs root, the folder with one folder of images for each class")
        return self


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        images: uint8 pixels, shape ``(count, height, width, channels)``, in memory or on disk.
        labels: class numbers, int64, shape ``(count,)``.
        uncropped: the same images with a margin around, which augmentation crops in its own way; None: no margin.
    """

    images: Images
    labels: Tensor
    uncropped: Images | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """SHA-256 over every pixel, without margins, and every label."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for block in itertools.chain(blocks(self.images), [self.labels.numpy()]):
            digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Three splits that share no image.

    ``train`` teaches, ``val`` decides, ``test`` is for the report alone. ``augment`` changes a batch of float images.

    Args:
        notes: what the report should say of the images, a sentence each.
        known_fingerprint: the fingerprint where it was just computed over the very same files.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    augment: Augment
    notes: tuple[str, ...] = ()
    known_fingerprint: str | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return int(self.train.images.shape[3])

    @property
    def image_size(self) -> int:
        return int(self.train.images.shape[1])

    def fingerprint(self) -> str:
        """SHA-256 over every pixel and label of the three splits."""
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split in (self.train, self.val, self.test):
            images = split.images if split.uncropped is None else split.uncropped
            digest.update(repr(tuple(images.shape)).encode())
            for block in itertools.chain(blocks(images), [split.labels.numpy()]):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()


def blocks(images: Images, size_bytes: int = 2**23) -> Iterator[np.ndarray[Any, Any]]:
    """Every image in order, some megabytes at a time."""
    rows = max(1, size_bytes // math.prod(images.shape[1:]))
    for start in range(0, len(images), rows):
        yield images[start : start + rows].numpy()
