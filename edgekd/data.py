"""Datasets by name, fixed splits, augmentation of whole batches, batches."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from edgekd.config import Settings, suggest
from edgekd.errors import DataError

PIXEL_CENTRE, PIXEL_SCALE = 128.0, 64.0
SPLIT_SEED = 0
"""Splits never change with a pipeline's seed: results of two seeds stay comparable."""


class DataSettings(Settings):
    """Which images, at which size."""

    name: str = Field("digits", description="dataset: digits")
    image_size: int = Field(32, ge=8, le=1024, description="pixels a side; images are resized once")
    augment: bool = Field(True, description="small random changes of the training images, chosen for the dataset")


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
    augment: "Augment"

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


Augment = Callable[[Tensor, Generator], Tensor]
"""Takes float images ``(batch, channels, height, width)`` and a generator; gives images of the same shape."""


def load_dataset(settings: DataSettings) -> Dataset:
    """The dataset that the settings name.

    Raises:
        DataError: nobody knows the name.
    """
    if settings.name not in DATASETS:
        raise DataError("data.name", f"unknown dataset {settings.name!r}", suggest(settings.name, sorted(DATASETS)))
    return DATASETS[settings.name](settings)


def _digits(settings: DataSettings) -> Dataset:
    """1797 handwritten digits, 8x8 grey, from scikit-learn's wheel."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images).float() * (255.0 / 16.0)
    images = resize(grey[..., None].round().to(torch.uint8), settings.image_size)
    augment = shift_rotate_scale if settings.augment else no_augment
    return split_dataset("digits", tuple("0123456789"), images, torch.from_numpy(raw.target).long(), augment)


DATASETS: dict[str, Callable[[DataSettings], Dataset]] = {"digits": _digits}


def split_dataset(name: str, class_names: tuple[str, ...], images: Tensor, labels: Tensor, augment: Augment) -> Dataset:
    """Split 64/16/20 % into train, val and test, each class in the same shares, by a fixed seed."""
    from sklearn.model_selection import train_test_split

    every = torch.arange(len(labels)).numpy()
    rest, test = train_test_split(every, test_size=0.2, random_state=SPLIT_SEED, stratify=labels.numpy())
    train, val = train_test_split(rest, test_size=0.2, random_state=SPLIT_SEED, stratify=labels[rest].numpy())
    train, val, test = (torch.from_numpy(part) for part in (train, val, test))
    parts = {key: Split(images[part], labels[part]) for key, part in (("train", train), ("val", val), ("test", test))}
    return Dataset(name, class_names, **parts, augment=augment)


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear, antialiased.

    Args:
        images: uint8, shape ``(count, height, width, channels)``.
        size: pixels a side.

    Returns:
        uint8, shape ``(count, size, size, channels)``.
    """
    if images.shape[1:3] == (size, size):
        return images
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def as_input(images: Tensor) -> Tensor:
    """What a network sees: ``(pixel - 128) / 64``.

    Args:
        images: uint8, shape ``(batch, height, width, channels)``.

    Returns:
        float32, shape ``(batch, channels, height, width)``, channels last in memory (no copy of the layout).
    """
    return (images.permute(0, 3, 1, 2).float() - PIXEL_CENTRE) / PIXEL_SCALE


def train_batches(dataset: Dataset, batch_size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One shuffled, augmented pass over ``train``; a last batch that is not full is left out.

    Yields:
        Images as the network sees them and their labels.
    """
    split = dataset.train
    order = torch.randperm(len(split), generator=generator)
    for start in range(0, batches_per_epoch(dataset, batch_size) * batch_size, batch_size):
        chosen = order[start : start + batch_size]
        yield dataset.augment(as_input(split.images[chosen]), generator), split.labels[chosen]


def batches_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Full batches in one pass over ``train``; at least 1."""
    return max(1, len(dataset.train) // batch_size)


def batches(split: Split, batch_size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, unchanged: images as the network sees them and their labels."""
    for start in range(0, len(split), batch_size):
        end = start + batch_size
        yield as_input(split.images[start:end]), split.labels[start:end]


def calibration_batches(dataset: Dataset, images: int, batch_size: int = 64) -> Iterator[Tensor]:
    """Unchanged images of ``train``, spread evenly over it."""
    count = min(images, len(dataset.train))
    chosen = torch.linspace(0, len(dataset.train) - 1, count).round().long()
    for start in range(0, count, batch_size):
        yield as_input(dataset.train.images[chosen[start : start + batch_size]])


def no_augment(images: Tensor, _generator: Generator) -> Tensor:
    """The images as they are."""
    return images


def shift_rotate_scale(images: Tensor, generator: Generator) -> Tensor:
    """Shift by up to 6 %, turn by up to 10 degrees, scale by up to 10 %: right for digits, which may not be flipped.

    What comes in from outside the picture is the picture's border.
    """
    count = len(images)
    angle, scale, right, down = _uniform(count, 4, generator).unbind(1)
    angle, scale = angle * math.radians(10), 1 + 0.1 * scale
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([torch.stack([cos, -sin, 0.12 * right], 1), torch.stack([sin, cos, 0.12 * down], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    turned: Tensor = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)


def _uniform(rows: int, columns: int, generator: Generator) -> Tensor:
    """Numbers between -1 and 1."""
    return torch.rand(rows, columns, generator=generator) * 2 - 1
