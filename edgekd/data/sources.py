"""The datasets; a new one is one class and one name here."""

from collections.abc import Mapping
from dataclasses import replace
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
    return replace(settings.load(augment, progress or Progress()), balance=settings.balance)
