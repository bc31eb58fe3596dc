"""Datasets by name."""

from collections.abc import Callable

import torch

from edgekd.config import suggest
from edgekd.data.augment import Augment, augmentation
from edgekd.data.cifar import cifar10, cifar100
from edgekd.data.dataset import Dataset, DataSettings
from edgekd.data.fashion import fashion_mnist
from edgekd.data.folder import folder
from edgekd.data.function import function
from edgekd.data.splits import resize, split_dataset
from edgekd.errors import DataError
from edgekd.runtime import Progress


def load_dataset(settings: DataSettings, progress: Progress | None = None) -> Dataset:
    """The dataset that the settings name.

    Args:
        settings: which images, at which size.
        progress: told about reading them, where that takes a while.

    Raises:
        DataError: nobody knows the name, or the images cannot be read.
    """
    if settings.name not in DATASETS:
        raise DataError("data.name", f"unknown dataset {settings.name!r}", suggest(settings.name, sorted(DATASETS)))
    load, usual = DATASETS[settings.name]
    return load(settings, augmentation(settings.augment or usual, settings.image_size), progress or Progress())


def _digits(settings: DataSettings, augment: Augment, _progress: Progress) -> Dataset:
    """1797 handwritten digits, 8x8 grey, from scikit-learn's wheel."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images).float() * (255.0 / 16.0)
    images = resize(grey[..., None].round().to(torch.uint8), settings.image_size)
    return split_dataset("digits", tuple("0123456789"), images, torch.from_numpy(raw.target).long(), augment)


Loader = Callable[[DataSettings, Augment, Progress], Dataset]

DATASETS: dict[str, tuple[Loader, str]] = {
    "digits": (_digits, "shift_rotate_scale"),
    "fashion_mnist": (fashion_mnist, "crop_flip"),
    "cifar10": (cifar10, "crop_flip"),
    "cifar100": (cifar100, "crop_flip"),
    "folder": (folder, "photo"),
    "function": (function, "crop_flip"),
}
"""Each dataset's loader and its usual augmentation."""
