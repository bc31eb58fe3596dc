"""Tiny things that tests share: generated images of three separable classes, networks of a few layers."""

import logging
import os
import sys
import warnings

import torch
from torch import Tensor, nn

from edgekd.data import Augment, Dataset, Split
from edgekd.data.augment import no_augment
from edgekd.ondevice.sizes import Size, sides
from edgekd.zoo import ModelSpec

CLASSES = 3
SPEC = ModelSpec(name="hand-made", num_classes=CLASSES, in_channels=1, image_size=8)
"""What the networks below answer, and of which images; ``build`` does not know the name."""


def tiny_dataset(train: int = 48, val: int = 12, test: int = 12, augment: Augment = no_augment) -> Dataset:
    """Noisy dark 8x8 grey images with one bright band of rows: its place, top to bottom, is the class."""
    generator = torch.Generator().manual_seed(0)
    taught, deciding, last = (_split(count, generator) for count in (train, val, test))
    return Dataset("tiny", ("top", "middle", "bottom"), taught, deciding, last, augment)


def _split(count: int, generator: torch.Generator) -> Split:
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 60, (count, 8, 8, 1), dtype=torch.uint8, generator=generator)
    for image, label in zip(images, labels, strict=True):
        band_of(image, int(label)).add_(180)
    return Split(images, labels)


def uneven_dataset(train: list[int], rest: list[int]) -> Dataset:
    """Noisy 8x8 grey images with one white square, whose place is the class.

    Args:
        train: images of each class.
        rest: the same of val, and of test.
    """
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"class {number}" for number in range(len(train)))
    taught, deciding, last = (_squares(counts, generator) for counts in (train, rest, rest))
    return Dataset("uneven", names, taught, deciding, last, no_augment)


def _squares(counts: list[int], generator: torch.Generator) -> Split:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(0, 256, (len(labels), 8, 8, 1), dtype=torch.uint8, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 4)
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 255
    return Split(images, labels)


def band_of(image: Tensor, label: int) -> Tensor:
    """The rows of an image, shape ``(8, 8, channels)``, that are bright in a class."""
    return image[3 * label : 3 * label + 2]


def tiny_convnet(width: int = 32, seed: int = 0) -> nn.Sequential:
    """Two 3x3 convolutions of ``width`` and 8 channels, a batch norm behind each, a classifier; in eval mode."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    ).eval()


def own_network(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """A user's own network, as a pipeline file names it: ``tests.tiny:own_network``."""
    assert max(sides(image_size)) >= 8
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


class _DependsOnPixels(nn.Module):
    """Takes one of two paths by what the image shows: no fixed graph."""

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.bright, self.dark = nn.Conv2d(channels, 16, 3), nn.Conv2d(channels, 16, 3)
        self.fc = nn.Linear(16, outputs)

    def forward(self, images: Tensor) -> Tensor:
        conv = self.bright if float(images.mean()) > 0 else self.dark
        logits: Tensor = self.fc(conv(images).mean((2, 3)))
        return logits


def untraceable_network(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A network that torch.export cannot follow."""
    return _DependsOnPixels(num_classes, in_channels)


class _Inverts(nn.Module):
    """Computes with an operator that torch.export follows and ONNX has not."""

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 16, 3), nn.Linear(16, outputs)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images).mean((2, 3))
        square = features[:, :, None] * features[:, None] + torch.eye(16)
        logits: Tensor = self.fc(torch.linalg.inv(square).diagonal(dim1=1, dim2=2))
        return logits


def unwritable_network(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A network that the ONNX exporter has no words for."""
    return _Inverts(num_classes, in_channels)


class _Loud(nn.Module):
    """Writes wherever a library may, whenever it runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            print("noise: printed")
            print("noise: printed as an error", file=sys.stderr)
            warnings.warn("noise: warned", stacklevel=2)
            logging.getLogger("noisy").error("noise: logged")
            os.write(1, b"noise: written below Python\n")
            os.write(2, b"noise: written as an error below Python\n")
        logits: Tensor = self.network(images)
        return logits


def loud_network(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A network around which everything prints."""
    return _Loud(own_network(num_classes, in_channels, image_size))


def blurred_colours(count: int, size: int, seed: int = 0) -> Tensor:
    """Coarse colours, uint8, shape ``(count, size, size, 3)``, of different brightness, as photographs are."""
    generator = torch.Generator().manual_seed(seed)
    coarse = nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), size=size, mode="bilinear")
    shade = torch.rand(count, 3, 1, 1, generator=generator)
    return (255 * coarse * shade).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
