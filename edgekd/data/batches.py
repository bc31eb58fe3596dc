"""Batches of a split as the network sees them."""

import collections.abc
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor

from edgekd.data.dataset import PIXEL_CENTRE, PIXEL_SCALE, Dataset, Split
from edgekd.data.fetch import CPU, fetched


class Batch(NamedTuple):
    """Some images of a training, as the network sees them.

    Args:
        images: float32, shape ``(batch, channels, height, width)``.
        labels: class numbers, int64, shape ``(batch,)``.
        place: number of the batch among those that come again, as they are, in later epochs; None: it does not.
    """

    images: Tensor
    labels: Tensor
    place: int | None = None


Batches: TypeAlias = collections.abc.Generator[Batch, None, None]
"""A pass, to be closed where it is left early: a thread may be reading ahead."""


def as_input(images: Tensor) -> Tensor:
    """What a network sees: ``(pixel - 128) / 64``.

    Args:
        images: uint8, shape ``(batch, height, width, channels)``.

    Returns:
        float32, shape ``(batch, channels, height, width)``, channels last in memory (no copy of the layout).
    """
    return (images.permute(0, 3, 1, 2).float() - PIXEL_CENTRE) / PIXEL_SCALE


Mix = Callable[[float], int | None]
"""Progress (0..1) of the schedule -> images with labels in a batch; None: labels are not read, all images are alike."""
Counts = Sequence[int | None]
"""What a ``Mix`` says of each batch of a pass."""


def train_batches(
    dataset: Dataset,
    batch_size: int,
    generator: Generator,
    device: torch.device = CPU,
    mix: Counts | None = None,
) -> Batches:
    """One shuffled, augmented pass, balanced if so configured; an incomplete last batch is dropped.

    Augmented on ``device``; all that is random is drawn on the CPU, so that a generator gives the same everywhere.

    Args:
        dataset: its ``train`` split is passed over; with a ``mix`` its pictures too.
        batch_size: images of a batch.
        generator: of all choices.
        device: where the images are wanted.
        mix: for each batch how many of its images have labels.
    """
    for pixels, labels in _fetched(_split(dataset, mix), _chosen(dataset, batch_size, generator, mix), device):
        yield Batch(dataset.augment(as_input(pixels), generator), labels)


def shared_batches(
    dataset: Dataset,
    batch_size: int,
    generator: Generator,
    rank: int,
    size: int,
    device: torch.device = CPU,
    mix: Counts | None = None,
) -> Batches:
    """One process's share of every batch; all shares together are a batch of ``train_batches``.

    All processes draw the same order. Augmentation and dropout differ between them, but are derived from the generator,
    so that its state is enough to resume.

    Args:
        dataset: its ``train`` split is used; with a ``mix`` its pictures too.
        batch_size: images of all processes together.
        generator: in the same state in every process.
        rank: this process's number, from 0.
        size: how many there are.
        device: this process's.
        mix: for each batch how many of its images have labels.
    """
    chosen = [numbers[rank::size] for numbers in _chosen(dataset, batch_size, generator, mix)]
    _seed_dropout(generator, rank)
    for pixels, labels in _fetched(_split(dataset, mix), chosen, device):
        own = torch.Generator().manual_seed(_draw(generator) + rank)
        yield Batch(dataset.augment(as_input(pixels), own), labels)


class View(NamedTuple):
    """A pass that can come again.

    Args:
        number: among those of one training, from 0.
        seed: of all of them.
    """

    number: int
    seed: int

    def draws(self, count: int) -> list[int]:
        """Seeds of what happens in the pass."""
        own = torch.randint(2**62, (self.number + 1,), generator=torch.Generator().manual_seed(self.seed))[-1]
        return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(int(own))).tolist()


def repeated_batches(
    dataset: Dataset,
    batch_size: int,
    generator: Generator,
    view: View,
    share: tuple[int, int] = (0, 1),
    device: torch.device = CPU,
    mix: Counts | None = None,
) -> Batches:
    """A pass that can come again: the same batches, augmented in the same way, in another order.

    Args:
        dataset: its ``train`` split is passed over; with a ``mix`` its pictures too.
        batch_size: images of all processes together.
        generator: of what differs from one time to the next; in the same state in every process.
        view: which batches, and how they are augmented.
        share: this process's number, from 0, and how many there are; see ``shared_batches``.
        device: this process's.
        mix: for each batch how many of its images have labels. Batches of one place and one such number are the same.
    """
    rank, size = share
    steps = len(mix) if mix else batches_per_epoch(dataset, batch_size)
    of_order, *seeds = view.draws(steps + 1)
    order = torch.randperm(steps, generator=generator).tolist()
    if size > 1:
        _seed_dropout(generator, rank)

    def drawn(count: int | None) -> list[Tensor]:
        counts = None if mix is None else [count] * steps
        return _chosen(dataset, batch_size, torch.Generator().manual_seed(of_order), counts)

    counts = mix or [None] * steps
    kinds = {count: drawn(count) for count in set(counts)}
    chosen = [kinds[count][number][rank::size] for count, number in zip(counts, order, strict=True)]
    for number, (pixels, labels) in zip(order, _fetched(_split(dataset, mix), chosen, device), strict=True):
        images = dataset.augment(as_input(pixels), torch.Generator().manual_seed(seeds[number] + rank))
        yield Batch(images, labels, view.number * steps + number)


def _fetched(split: Split, chosen: Iterable[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    images = split.images if split.uncropped is None else split.uncropped
    return fetched(images, split.labels, chosen, device)


def _split(dataset: Dataset, mix: Counts | None) -> Split:
    return dataset.train if mix is None else dataset.seen


def _chosen(dataset: Dataset, batch_size: int, generator: Generator, mix: Counts | None) -> list[Tensor]:
    """The numbers of the images of each batch of one pass, in ``train``; with a mix in ``seen``, which begins so."""
    if mix is None:
        order = _order(dataset, generator)
        steps = batches_per_epoch(dataset, batch_size)
        return [order[step * batch_size : (step + 1) * batch_size] for step in range(steps)]
    labelled, every = len(dataset.train), len(dataset.seen)
    with_label = _Endless(lambda: _order(dataset, generator))
    without = _Endless(lambda: labelled + torch.randperm(every - labelled, generator=generator))
    alike = _Endless(lambda: torch.randperm(every, generator=generator))
    return [
        alike.take(batch_size)
        if count is None
        else torch.cat([with_label.take(count), without.take(batch_size - count)])
        for count in mix
    ]


class _Endless:
    """Image numbers in one shuffled order after another, drawn when they are needed."""

    def __init__(self, order: Callable[[], Tensor]) -> None:
        self._order, self._left = order, torch.arange(0)

    def take(self, count: int) -> Tensor:
        """The next ones."""
        while len(self._left) < count:
            self._left = torch.cat([self._left, self._order()])
        found, self._left = self._left[:count], self._left[count:]
        return found


def _seed_dropout(generator: Generator, rank: int) -> None:
    # Dropout draws from the global generator. Seeded from the generator that checkpoints store, it is reproducible
    # after a stop, and differs between processes.
    torch.manual_seed(_draw(generator) + rank)


def _order(dataset: Dataset, generator: Generator) -> Tensor:
    if dataset.balance:
        return balanced_order(dataset.train.labels, generator)
    return torch.randperm(len(dataset.train), generator=generator)


def balanced_order(labels: Tensor, generator: Generator) -> Tensor:
    """Shuffled image indices, as many as there are images, equally many (or one more) of every class.

    Of a frequent class some are left out; those of a rare class are repeated, equally often or once more.
    """
    classes = labels.bincount().nonzero()[:, 0]
    # Shuffled, so that the extra images do not always go to the first classes.
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


def batches_per_epoch(dataset: Dataset, batch_size: int, mixed: bool = False) -> int:
    """Full batches in one pass over ``train``, ``mixed`` over all that is ``seen``; at least 1."""
    return max(1, len(dataset.seen if mixed else dataset.train) // batch_size)


def batches(split: Split, batch_size: int = 256, device: torch.device = CPU) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, unchanged: images as the network sees them and their labels."""
    every = (slice(start, start + batch_size) for start in range(0, len(split), batch_size))
    for pixels, labels in fetched(split.images, split.labels, every, device):
        yield as_input(pixels), labels


def calibration_batches(dataset: Dataset, images: int, batch_size: int = 64) -> Iterator[Tensor]:
    """Unaugmented training images, with labels or without, spread evenly."""
    for batch, _ in spread_batches(dataset.seen, images, batch_size):
        yield batch


def spread_batches(split: Split, images: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Unaugmented images and their labels; each batch is spread evenly over the split.

    A split may be sorted by class, and statistics of consecutive images would be those of a few classes. Batch sizes
    differ by one image at most.
    """
    count = min(images, len(split))
    chosen = torch.linspace(0, len(split) - 1, count).round().long()
    number = math.ceil(count / batch_size)
    for first in range(number):
        part = chosen[first::number]
        yield as_input(split.images[part]), split.labels[part]
