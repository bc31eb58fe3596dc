"""The datasets; a new one is one class and one name here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from edgekd.config.progress import Progress
from edgekd.data.augment import augmentation
from edgekd.data.cifar import Cifar10, Cifar100
from edgekd.data.dataset import Dataset
from edgekd.data.digits import Digits
from edgekd.data.fashion import FashionMnist
from edgekd.data.folder import Folder
from edgekd.data.function import Function
from edgekd.data.pictures import with_few_labels, with_pictures
from edgekd.data.settings import DataSettings


def _digits_unless_named(given: Any) -> Any:
    return {"name": "digits", **given} if isinstance(given, Mapping) and "name" not in given else given


AnyData = Annotated[
    Digits | FashionMnist | Cifar10 | Cifar100 | Folder | Function,
    Field(discriminator="name"),
    BeforeValidator(_digits_unless_named),
]


def load_dataset(settings: DataSettings, progress: Progress | None = None) -> Dataset:
    """The dataset that the settings describe.

    Args:
        settings: which images, at which size.
        progress: informed about reading them, if that takes long.

    Raises:
        DataError: the images cannot be read.
    """
    augment = augmentation(settings.augment_name, settings.image_size)
    progress = progress or Progress()
    data = settings.load(augment, progress)
    if settings.labelled < 1:
        data = with_few_labels(data, settings.labelled)
    if settings.unlabelled is not None:
        folder, rule = Path(settings.unlabelled).expanduser(), settings.resize_rule
        data = with_pictures(data, folder, settings.cache_of_pictures, rule, settings.skips_bad, progress)
    every = data.all_labels and replace(data.all_labels, balance=settings.balance)
    return replace(data, balance=settings.balance, all_labels=every)
