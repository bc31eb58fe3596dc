"""Numbers of another kind than pixels: a declared range of them becomes 256 levels, which a network sees as pixels."""

import math
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

Array = np.ndarray[Any, Any]
TOP = 255
"""The highest level."""


class ValueRange(NamedTuple):
    """The range that numbers come from; what lies outside is clipped. Levels are rounded as by ONNX's QuantizeLinear.

    >>> ValueRange(-128, 127).levels(np.array([-128.0, 0.0, 1.4, 300.0], np.float32))
    array([  0, 128, 129, 255], dtype=uint8)
    """

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """The step from one level to the next."""
        return np.float32((self.high - self.low) / TOP)

    @property
    def offset(self) -> np.float32:
        """What is subtracted first: a range without zero has no level for it."""
        return np.float32(0.0 if self.low <= 0 <= self.high else self.low)

    @property
    def zero(self) -> int:
        """The level of ``offset``."""
        return round(-self.low / float(self.scale)) if self.low <= 0 <= self.high else 0

    def levels(self, values: Array) -> Array:
        """uint8 levels of numbers, in the same shape."""
        steps = np.rint((values.astype(np.float32) - self.offset) / self.scale) + np.float32(self.zero)
        levels: Array = np.clip(steps, 0, TOP).astype(np.uint8)
        return levels

    def outside(self, values: Array) -> float:
        """Share of numbers that are more than a level outside, 0..1."""
        beyond = (values < self.low - self.scale) | (values > self.high + self.scale)
        return float(beyond.mean())


class InUnits:
    """Images as the files take them: each level is the number in the middle of those that share it.

    Args:
        images: levels, uint8; anything with a shape, a length and rows by number.
        unit: what they are levels of.
    """

    def __init__(self, images: Any, unit: ValueRange) -> None:
        self._images, self._unit = images, unit
        self.shape: tuple[int, ...] = tuple(images.shape)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Images by number, float32."""
        return in_units(self._images[rows], self._unit)


def in_units(levels: Tensor, unit: ValueRange) -> Tensor:
    """The numbers that levels stand for, float32."""
    return (levels.float() - unit.zero) * float(unit.scale) + float(unit.offset)


def holds(unit: ValueRange) -> bool:
    """Can float32 tell the levels of a range apart?"""
    finest = max(abs(unit.low), abs(unit.high)) * 2.0**-20
    return math.isfinite(unit.high - unit.low) and unit.high - unit.low > TOP * finest
