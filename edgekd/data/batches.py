"""Batches of a split as the network sees them."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from edgekd.data.dataset import PIXEL_CENTRE, PIXEL_SCALE, Dataset, Split


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
    images = split.images if split.uncropped is None else split.uncropped
    order = torch.randperm(len(split), generator=generator)
    for start in range(0, batches_per_epoch(dataset, batch_size) * batch_size, batch_size):
        chosen = order[start : start + batch_size]
        yield dataset.augment(as_input(images[chosen]), generator), split.labels[chosen]


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
