"""Fixed splits and resizing of images in memory."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset, Split
from edgekd.ondevice.sizes import Sides, Size, sides

SPLIT_SEED = 0
"""Splits do not depend on a pipeline's seed, so that results of different seeds are comparable."""


def split_dataset(name: str, class_names: tuple[str, ...], images: Tensor, labels: Tensor, augment: Augment) -> Dataset:
    """Split 64/16/20 % into train, val and test, each class in the same shares, by a fixed seed."""
    rest, test = hold_out(Split(images, labels), 0.2)
    train, val = hold_out(rest, 0.2)
    return Dataset(name, class_names, train, val, test, augment)


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """Split into the rest and a held-out ``share`` (0..1), stratified by class."""
    from sklearn.model_selection import train_test_split

    every, labels = np.arange(len(split)), split.labels.numpy()
    parts = train_test_split(every, test_size=share, random_state=SPLIT_SEED, stratify=labels)
    stay, apart = (Split(split.images[numbers], split.labels[numbers]) for numbers in map(torch.from_numpy, parts))
    return stay, apart


def hold_out_each(labels: np.ndarray[Any, Any], share: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """As ``hold_out``, but at least one image of every class is held out.

    Returns:
        Indices, ascending, of the images that stay and of those held out.
    """
    # RandomState's stream is frozen (NEP 19); default_rng's may change with numpy, and the splits with it.
    order = np.random.RandomState(SPLIT_SEED)
    apart = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order.permutation(np.flatnonzero(labels == label))
        apart[members[: max(1, round(share * len(members)))]] = True
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def resize(images: Tensor, size: Size) -> Tensor:
    """Bilinear, antialiased.

    Args:
        images: uint8, shape ``(count, height, width, channels)``.
        size: of the result.

    Returns:
        uint8, shape ``(count, height, width, channels)`` of that size.
    """
    if images.shape[1:3] == sides(size):
        return images
    # In parts: as float32 all images at once would need four times their memory.
    small = [_resized(part, sides(size)) for part in torch.split(images, 4096)]
    return torch.cat(small)


def _resized(images: Tensor, size: Sides) -> Tensor:
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
