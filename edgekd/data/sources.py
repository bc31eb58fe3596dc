"""Datasets by name."""

from collections.abc import Callable

import torch

from edgekd.config import suggest
from edgekd.data.augment import AUGMENTATIONS, Augment
from edgekd.data.dataset import Dataset, DataSettings
from edgekd.data.fashion import fashion_mnist
from edgekd.data.splits import resize, split_dataset
from edgekd.errors import DataError


def load_dataset(settings: DataSettings) -> Dataset:
    """The dataset that the settings name.

    Raises:
        DataError: nobody knows the name, or the images cannot be read.
    """
    if settings.name not in DATASETS:
        raise DataError("data.name", f"unknown dataset {settings.name!r}", suggest(settings.name, sorted(DATASETS)))
    load, usual = DATASETS[settings.name]
    return load(settings, AUGMENTATIONS[settings.augment or usual])


def _digits(settings: DataSettings, augment: Augment) -> Dataset:
    """1797 handwritten digits, 8x8 grey, from scikit-learn's wheel."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images).float() * (255.0 / 16.0)
    images = resize(grey[..., None].round().to(torch.uint8), settings.image_size)
    return split_dataset("digits", tuple("0123456789"), images, torch.from_numpy(raw.target).long(), augment)


Loader = Callable[[DataSettings, Augment], Dataset]

DATASETS: dict[str, tuple[Loader, str]] = {
    "digits": (_digits, "shift_rotate_scale"),
    "fashion_mnist": (fashion_mnist, "crop_flip"),
}
"""Each dataset's loader and its usual augmentation."""
