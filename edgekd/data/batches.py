"""Batches of a split as the network sees them."""

import math
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
    """One shuffled, augmented pass over ``train``, balanced if so said; a last batch that is not full is left out.

    Yields:
        Images as the network sees them and their labels.
    """
    split = dataset.train
    images = split.images if split.uncropped is None else split.uncropped
    order = _order(dataset, generator)
    for start in range(0, batches_per_epoch(dataset, batch_size) * batch_size, batch_size):
        chosen = order[start : start + batch_size]
        yield dataset.augment(as_input(images[chosen]), generator), split.labels[chosen]


def shared_batches(
    dataset: Dataset, batch_size: int, generator: Generator, rank: int, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One process's part of every batch of a pass over ``train``; the parts of all are a batch of ``train_batches``.

    Every process draws the same order; augmentation, and what a network draws itself (dropout), differ between them
    and follow from the generator, so that its state is enough to go on.

    Args:
        dataset: whose ``train`` is passed over.
        batch_size: images of all processes together.
        generator: in the same state in every process.
        rank: this process's number, from 0.
        size: how many there are.
    """
    split = dataset.train
    images = split.images if split.uncropped is None else split.uncropped
    order = _order(dataset, generator)
    # Dropout draws from the global generator: seeded from the one that checkpoints hold, it goes on to the same bits
    # after a stop, and differently in each process.
    torch.manual_seed(_draw(generator) + rank)
    for start in range(0, batches_per_epoch(dataset, batch_size) * batch_size, batch_size):
        chosen = order[start : start + batch_size][rank::size]
        own = torch.Generator().manual_seed(_draw(generator) + rank)
        yield dataset.augment(as_input(images[chosen]), own), split.labels[chosen]


def _order(dataset: Dataset, generator: Generator) -> Tensor:
    if dataset.balance:
        return balanced_order(dataset.train.labels, generator)
    return torch.randperm(len(dataset.train), generator=generator)


def balanced_order(labels: Tensor, generator: Generator) -> Tensor:
    """As many numbers of images as there are, shuffled, of which every class has the same share, or one more.

    Of a common class some are left out; of a rare one all come, and come again, none more than once oftener than
    another.
    """
    classes = labels.bincount().nonzero()[:, 0]
    # Drawn, so that it is not always the first classes that get the one image more.
    classes = classes[torch.randperm(len(classes), generator=generator)]
    shares = torch.full((len(classes),), len(labels) // len(classes))
    shares[: len(labels) % len(classes)] += 1
    drawn = torch.cat(
        [
            _drawn((labels == number).nonzero()[:, 0], share, generator)
            for number, share in zip(classes, shares.tolist(), strict=True)
        ]
    )
    return drawn[torch.randperm(len(drawn), generator=generator)]


def _drawn(members: Tensor, share: int, generator: Generator) -> Tensor:
    rounds = -(-share // len(members))
    return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)])[:share]


def _draw(generator: Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


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
    for batch, _ in spread_batches(dataset.train, images, batch_size):
        yield batch


def spread_batches(split: Split, images: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Unchanged images and their labels, spread evenly over a split, and so is each batch.

    It may be sorted by class, and ranges and variances that are found batch by batch would be those of a few classes.
    Sizes of batches differ by one image at most.
    """
    count = min(images, len(split))
    chosen = torch.linspace(0, len(split) - 1, count).round().long()
    number = math.ceil(count / batch_size)
    for first in range(number):
        part = chosen[first::number]
        yield as_input(split.images[part]), split.labels[part]
