"""How a network is built, and the images that it sees."""

from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from edgekd.config import ImageSize, Settings
from edgekd.ondevice.sizes import sides

AUTO: Final = "auto"
Stem = Literal["auto", "small", "standard"]
"""What is done to the first convolution of torchvision's and timm's networks, most of which are made for 224x224."""
SMALL_IMAGE = 64
"""Up to this longer side of an image, in pixels, ``auto`` means ``small``."""


class ModelSpec(Settings):
    """How a network is built, before any pruning."""

    name: str = Field(
        description="torchvision's name, timm/NAME, package.module:name, a name of small.py, or resnet8, resnet14, ... "
        "(CIFAR style)"
    )
    num_classes: int = Field(ge=2, description="outputs of the classifier")
    in_channels: int = Field(ge=1, description="channels of the image")
    image_size: ImageSize = Field(description="pixels a side, or height and width")
    width_mult: float = Field(
        1.0, gt=0, le=8, description="multiplies every layer's channels, where the architecture has it"
    )
    activations: Literal["relu", "relu6"] | None = Field(None, description="in place of HardSwish, SiLU, GELU")
    stem: Stem = Field(AUTO, description="small: the first convolution keeps the resolution; standard: as published")
    stem_bias: bool = Field(False, description="the first convolution has a bias: a folded normalisation needs one")

    @property
    def small_stem(self) -> bool:
        """Does the first convolution keep the resolution, where the network comes from a library?"""
        return self.stem == "small" or (self.stem == AUTO and max(sides(self.image_size)) <= SMALL_IMAGE)


def example_images(spec: ModelSpec, batch: int = 1) -> Tensor:
    """Black images as a network sees them: shape ``(batch, channels, height, width)``, channels last in memory."""
    return torch.full((batch, spec.in_channels, *sides(spec.image_size)), -2.0).to(memory_format=torch.channels_last)


def random_images(spec: ModelSpec, batch: int) -> Tensor:
    """Noise as a network sees it, always the same, shaped as ``example_images``; no global generator is drawn from."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, spec.in_channels, *sides(spec.image_size), generator=generator)
    return noise.to(memory_format=torch.channels_last)
