"""CIFAR-10 and CIFAR-100: 60 000 coloured pictures of things, 32x32, through torchvision.

Source: Krizhevsky (2009).
"""

from pathlib import Path
from typing import Any, Literal

import torch

from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset, Split
from edgekd.data.settings import PublishedSettings
from edgekd.data.splits import hold_out, resize
from edgekd.errors import DataError
from edgekd.ondevice.sizes import Size

VAL_SHARE = 0.1


class Cifar10(PublishedSettings):
    """50 000 training images, a tenth of which become ``val``, and 10 000 test images, of 10 classes."""

    name: Literal["cifar10"] = "cifar10"

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        from torchvision.datasets import CIFAR10

        return _cifar(CIFAR10, self.name, self, augment)


class Cifar100(PublishedSettings):
    """50 000 training images, a tenth of which become ``val``, and 10 000 test images, of 100 classes."""

    name: Literal["cifar100"] = "cifar100"

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        from torchvision.datasets import CIFAR100

        return _cifar(CIFAR100, self.name, self, augment)


def _cifar(source: Any, name: str, settings: PublishedSettings, augment: Augment) -> Dataset:
    """The dataset from torchvision's files.

    These are pickles. torchvision 0.29 compares their MD5 with its own list before it opens any (``_check_integrity``,
    ``_load_meta``). MD5 detects damage, but not an attacker who constructs a file with the same sum.

    Raises:
        DataError: a file is missing or differs from the published one.
    """
    how = f"set data.root to the folder that holds {source.base_folder}/ ({source.url}), or data.download: true"
    if settings.root is None:
        raise DataError("data.root", f"{name} needs a folder", how)
    root = Path(settings.root).expanduser()
    try:
        files = [source(str(root), train=part, download=settings.download) for part in (True, False)]
    # torchvision raises RuntimeError for a missing or damaged file.
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(str(root / source.base_folder), f"{name} is not there, or damaged ({reason})", how) from None
    whole, test = (_split(part, settings.image_size) for part in files)
    classes = tuple(files[0].classes)
    train, val = hold_out(whole, VAL_SHARE)
    return Dataset(name, classes, train, val, test, augment)


def _split(source: Any, size: Size) -> Split:
    return Split(resize(torch.from_numpy(source.data).contiguous(), size), torch.tensor(source.targets))
