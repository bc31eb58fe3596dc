"""Random changes of whole batches of training images, by name."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from edgekd.ondevice.sizes import Size, sides

AUGMENT_VERSION = 1
"""Increased when an augmentation changes its images; part of every stage's digest."""

Augment = Callable[[Tensor, Generator], Tensor]
"""Takes float images ``(batch, channels, height, width)`` and a generator; gives images of the size a network sees.

The generator is the CPU's, wherever the images are: checkpoints keep its state, and draws are the same everywhere.
"""

BLACK, WHITE = -2.0, 127 / 64
"""Pixels of 0 and of 255 as the network sees them."""
LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in brightness, by ITU-R 601."""


def no_augment(images: Tensor, _generator: Generator) -> Tensor:
    """The images as they are."""
    return images


def shift_rotate_scale(images: Tensor, generator: Generator) -> Tensor:
    """Shift by up to 6 %, turn by up to 10 degrees, scale by up to 10 %: for digits, which must not be flipped.

    Pixels from outside the image repeat its border.
    """
    count = len(images)
    angle, scale, right, down = _beside(images, _uniform(count, 4, generator)).unbind(1)
    angle, scale = angle * math.radians(10), 1 + 0.1 * scale
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid's coordinates run from -1 to 1 along both sides, so 0.12 is 6 % of a side, and turning needs their
    # ratio.
    long = images.shape[3] / images.shape[2]
    rows = [[cos, -sin / long, 0.12 * right], [sin * long, cos, 0.12 * down]]
    grid = F.affine_grid(_matrices(rows), list(images.shape), align_corners=False)
    turned: Tensor = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # grid_sample returns channels first, and training is 16 % slower with that layout.
    return turned.contiguous(memory_format=torch.channels_last)


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    """One matrix for each image, from the numbers of all images at each place."""
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _uniform(rows: int, columns: int, generator: Generator) -> Tensor:
    """Numbers between -1 and 1."""
    return torch.rand(rows, columns, generator=generator) * 2 - 1


def _beside(images: Tensor, numbers: Tensor) -> Tensor:
    """A few numbers on the device of the images, without waiting for what that still computes."""
    return numbers.to(images.device, non_blocking=True)


def crop_flip(images: Tensor, generator: Generator) -> Tensor:
    """Shift by up to an eighth of each side in whole pixels, mirror half of the images: for small pictures of things.

    Pixels from outside the image are black.

    Source: He, Zhang, Ren, Sun (2015), section 4.2.
    """
    count, _, height, width = images.shape
    reach = [max(1, side // 8) for side in (height, width)]
    down, right = (_beside(images, torch.randint(0, 2 * far + 1, (count,), generator=generator)) for far in reach)
    mirrored = _beside(images, torch.rand(count, 1, generator=generator) < 0.5)
    number, row, column = (torch.arange(end, device=images.device) for end in (count, height, width))
    columns = torch.where(mirrored, column.flip(0), column) + right[:, None]
    rows = row + down[:, None]
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]), value=BLACK).permute(0, 2, 3, 1)
    moved = padded[number[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def photo(images: Tensor, generator: Generator, size: Size) -> Tensor:
    """A random crop of 35 to 100 % of the area, mirrored half of the time, its colours changed by up to 20 %.

    For photographs, where distance and light vary.

    Args:
        images: of any size, including the margin.
        generator: of all choices.
        size: of the result.

    Source: Szegedy et al. (2015), section 6; a smaller range, since small networks learn less from tiny parts.
    """
    count = len(images)
    area, aspect, right, down, mirror = _beside(images, _uniform(count, 5, generator)).unbind(1)
    area, aspect = 0.675 + 0.325 * area, torch.exp(math.log(4 / 3) * aspect)
    wide, high = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    nothing, side = torch.zeros_like(wide), torch.where(mirror < 0, -wide, wide)
    rows = [[side, nothing, right * (1 - wide)], [nothing, high, down * (1 - high)]]
    grid = F.affine_grid(_matrices(rows), [*images.shape[:2], *sides(size)], align_corners=False)
    parts: Tensor = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    factors = 1 + 0.2 * _beside(images, _uniform(count, 3, generator))
    return _recoloured(parts, factors).contiguous(memory_format=torch.channels_last)


def _recoloured(images: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation multiplied by factors, shape ``(batch, 3)``; nothing leaves the range."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    images = (images - BLACK) * brightness + BLACK
    channels = images.shape[1]
    weights = _beside(images, torch.tensor(LUMA if channels == 3 else (1 / channels,) * channels)[:, None, None])
    middle = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = middle + contrast * (images - middle)
    grey = (images * weights).sum(1, keepdim=True)
    return (grey + saturation * (images - grey)).clamp(BLACK, WHITE)


def augmentation(name: str, size: Size) -> Augment:
    """The augmentation of a name, for a network that sees images of this size."""
    return partial(photo, size=size) if name == "photo" else AUGMENTATIONS[name]


AUGMENTATIONS: dict[str, Augment] = {
    "none": no_augment,
    "shift_rotate_scale": shift_rotate_scale,
    "crop_flip": crop_flip,
}
"""Augmentations that keep the size."""
