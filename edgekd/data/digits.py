"""1797 handwritten digits, 8x8 grey, from scikit-learn's wheel."""

from typing import ClassVar, Literal

import torch

from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset
from edgekd.data.settings import DataSettings
from edgekd.data.splits import resize, split_dataset


class Digits(DataSettings):
    """Split 64/16/20 %; digits may be shifted, not mirrored."""

    USUAL_AUGMENT: ClassVar[str] = "shift_rotate_scale"

    name: Literal["digits"] = "digits"

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        from sklearn.datasets import load_digits

        raw = load_digits()
        # scikit-learn's digits have 17 levels of grey, 0 to 16.
        grey = torch.from_numpy(raw.images).float() * (255.0 / 16.0)
        images = resize(grey[..., None].round().to(torch.uint8), self.image_size)
        return split_dataset(self.name, tuple("0123456789"), images, torch.from_numpy(raw.target).long(), augment)
