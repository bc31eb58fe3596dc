"""What a dataset is: three splits that share no image."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from edgekd.config import Settings
from edgekd.data.augment import Augment

PIXEL_CENTRE, PIXEL_SCALE = 128.0, 64.0


class DataSettings(Settings):
    """Which images, at which size."""

    name: str = Field("digits", description="dataset: digits, fashion_mnist")
    image_size: int = Field(32, ge=8, le=1024, description="pixels a side; images are resized once")
    augment: Literal["none", "shift_rotate_scale", "crop_flip"] | None = Field(
        None, description="small random changes of the training images; chosen for the dataset unless given"
    )
    root: str | None = Field(None, description="folder that holds the dataset, or receives it")
    download: bool = Field(False, description="fetch the dataset into root where it is not there")


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        images: uint8 pixels, shape ``(count, height, width, channels)``.
        labels: class numbers, int64, shape ``(count,)``.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three splits that share no image.

    ``train`` teaches, ``val`` decides, ``test`` is for the report alone. ``augment`` changes a batch of float images.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    augment: Augment

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
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split in (self.train, self.val, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            for tensor in (split.images, split.labels):
                digest.update(np.ascontiguousarray(tensor.numpy()).data)
        return digest.hexdigest()
