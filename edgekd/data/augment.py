"""Random changes of whole batches of training images, by name."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

Augment = Callable[[Tensor, Generator], Tensor]
"""Takes float images ``(batch, channels, height, width)`` and a generator; gives images of the same shape."""

BLACK = -2.0
"""A pixel of 0 as the network sees it."""


def no_augment(images: Tensor, _generator: Generator) -> Tensor:
    """The images as they are."""
    return images


def shift_rotate_scale(images: Tensor, generator: Generator) -> Tensor:
    """Shift by up to 6 %, turn by up to 10 degrees, scale by up to 10 %: right for digits, which may not be flipped.

    What comes in from outside the picture is the picture's border.
    """
    count = len(images)
    angle, scale, right, down = _uniform(count, 4, generator).unbind(1)
    angle, scale = angle * math.radians(10), 1 + 0.1 * scale
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([torch.stack([cos, -sin, 0.12 * right], 1), torch.stack([sin, cos, 0.12 * down], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    turned: Tensor = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)


def _uniform(rows: int, columns: int, generator: Generator) -> Tensor:
    """Numbers between -1 and 1."""
    return torch.rand(rows, columns, generator=generator) * 2 - 1


def crop_flip(images: Tensor, generator: Generator) -> Tensor:
    """Shift by up to an eighth of the side in whole pixels, mirror half of them: right for small pictures of things.

    What comes in from outside the picture is black.

    Source: He, Zhang, Ren, Sun (2015), section 4.2.
    """
    count, _, height, width = images.shape
    reach = max(1, width // 8)
    down, right = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
    columns = torch.arange(width).expand(count, width)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns) + right[:, None]
    rows = torch.arange(height) + down[:, None]
    padded = F.pad(images, (reach,) * 4, value=BLACK).permute(0, 2, 3, 1)
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


AUGMENTATIONS: dict[str, Augment] = {
    "none": no_augment,
    "shift_rotate_scale": shift_rotate_scale,
    "crop_flip": crop_flip,
}
