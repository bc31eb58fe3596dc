"""What the settings of all datasets have in common; each dataset adds the keys that it reads."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekd.config import ImageSize, PathText, SettingError, Settings
from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.cache import Cache, default_place
from edgekd.data.dataset import Dataset
from edgekd.ondevice.pixels import Rule

CACHE_GB = 20.0


class DataSettings(Settings, ABC):
    """A dataset: which images, at which size. Its attributes are its settings."""

    USUAL_AUGMENT: ClassVar[str] = "crop_flip"
    """Augmentation if ``augment`` is not given."""

    image_size: ImageSize = Field(32, description="pixels a side, or [height, width]; images are resized once")
    augment: Literal["none", "shift_rotate_scale", "crop_flip", "photo"] | None = Field(
        None, description="small random changes of the training images; chosen for the dataset unless given"
    )
    labelled: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the training labels that is kept, of every class alike; the others' "
        "images stay, without labels",
    )
    unlabelled: PathText | None = Field(
        None, description="folder of pictures without labels, of which a student learns what its teacher answers"
    )
    balance: bool = Field(
        False, description="in training draw every class equally often: images of rarer ones again, changed anew"
    )

    @property
    def augment_name(self) -> str:
        """The augmentation, chosen by the user or for the dataset."""
        return self.augment or self.USUAL_AUGMENT

    @property
    def resize_rule(self) -> Rule:
        """How an image is brought to size; published datasets are stretched."""
        return "stretch"

    @property
    def skips_bad(self) -> bool:
        """Is a picture that cannot be read left out?"""
        return False

    @property
    def cache_of_pictures(self) -> Cache:
        """Where resized pictures without labels are kept."""
        return Cache(default_place(), int(CACHE_GB * 1e9))

    @abstractmethod
    def load(self, augment: Augment, progress: Progress) -> Dataset:
        """Read the images.

        Args:
            augment: the augmentation of training images.
            progress: informed about reading them, if that takes long.

        Raises:
            DataError: they cannot be read, or are not what they should be.
        """


class PublishedSettings(DataSettings):
    """A dataset whose files somebody else publishes."""

    root: PathText | None = Field(None, description="folder that holds the dataset, or receives it")
    download: bool = Field(False, description="fetch the dataset into root where it is not there")

    @model_validator(mode="after")
    def _has_room(self) -> "PublishedSettings":
        if self.download and self.root is None:
            raise SettingError("download", "goes with root, the folder that receives the files; give root")
        return self


class OwnSettings(DataSettings):
    """A dataset of the user's own pictures, of any size."""

    resize: Rule = Field(
        "crop", description="keep the middle of the picture, or squeeze all of it into the wanted shape (stretch)"
    )

    @property
    def resize_rule(self) -> Rule:
        return self.resize
