"""Mixup: images of a batch are blended in pairs, and so are their labels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from edgekd.data import Batch


class Mixed(NamedTuple):
    """A batch whose images are blends of two.

    Args:
        images: float32, shape ``(batch, channels, height, width)``.
        labels: of the first image of each blend, shape ``(batch,)``.
        others: of the second one.
        share: of the first image and its label, 0..1, a scalar.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: Tensor

    def by_labels(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """A loss that reads labels, for both labels of each blend, weighted as their images."""
        return self.share * loss(self.labels) + (1 - self.share) * loss(self.others)


def mixed(batch: Batch) -> Mixed:
    """A batch blended in a proportion drawn uniformly from 0..1 by torch's global generator of the images' device.

    Source: Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov (2022), section 3; one draw for the whole batch.
    """
    return blended(batch, torch.rand((), device=batch.images.device))


def blended(batch: Batch, share: Tensor) -> Mixed:
    """``share`` of each image and the rest of its partner: share * x + (1 - share) * x_partner.

    Partners either both have a label or both have none, so that no label is lost.

    Args:
        batch: a label below 0 says that the image has none.
        share: a scalar, 0..1.
    """
    partners = _partners(batch.labels < 0)
    images = share * batch.images + (1 - share) * batch.images[partners]
    return Mixed(images, batch.labels, batch.labels[partners], share)


def _partners(unlabelled: Tensor) -> Tensor:
    """The first image's partner is the last, the second one's the last but one; each kind by itself.

    Args:
        unlabelled: shape ``(batch,)``.
    """
    # By sorting, not by counting, for which a GPU would have to be waited for.
    place, second_half = torch.arange(len(unlabelled), device=unlabelled.device), 2 * len(unlabelled) * unlabelled
    partners = torch.empty_like(place)
    partners[(second_half + place).argsort()] = (second_half - place).argsort()
    return partners
