"""Windows of a sensor with four axes: numbers that are no pixels, and a network without a convolution for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.ondevice.sizes import Size, sides

STEPS, AXES = 20, 4
RANGE = (-3.0, 9.0)


def window(seed: int, label: int) -> NDArray[np.float32]:
    """Noise, shape ``(1, STEPS, AXES)``, with a step of 5 on one axis, which is the class."""
    values = np.random.default_rng(seed).normal(0, 1, (1, STEPS, AXES)).astype(np.float32)
    values[:, STEPS // 2 :, label] += 5
    return values


def windows() -> dict[str, Any]:
    """A dataset, as a pipeline file names it."""

    def part(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = np.arange(count) % 3
        return np.stack([window(seed + number, int(label)) for number, label in enumerate(labels)]), labels

    return {"class_names": ["x", "y", "z"], "train": part(300, 0), "val": part(60, 10_000), "test": part(60, 20_000)}


def dense(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """Fully connected layers alone."""
    height, width = sides(image_size)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(height * width * in_channels, 64, bias=False),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


def one_layer(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """Nothing that could be pruned."""
    height, width = sides(image_size)
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width * in_channels, num_classes))
