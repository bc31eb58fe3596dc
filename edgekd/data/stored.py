"""Images that stay on disk: only the requested rows are read."""

import os
import weakref
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from edgekd.errors import DataError
from edgekd.ondevice.pixels import middle_of
from edgekd.ondevice.sizes import Size, sides
from edgekd.store.disk import reading


class StoredImages:
    """uint8 pixels in a file, one image after the other, without a header.

    Read, not memory-mapped: mapped pages would count as this process's memory. The file may be deleted while in use.

    Args:
        path: the file.
        shape: ``(count, height, width, channels)`` in the file.
        size: of the central crop that is returned; the image's own size for no crop.

    Raises:
        DataError: the file is missing or does not have that many bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], size: Size) -> None:
        self._path, self._stored, self._size = path, shape, size
        self.shape = (shape[0], *sides(size), shape[3])
        with reading(path, DataError, "run again"):
            self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if os.fstat(self._file).st_size != np.prod(shape, dtype=np.int64):
            raise DataError(str(path), "has not the size it was written with", "run again")

    def middle(self, size: Size) -> "StoredImages":
        """The same images without their margin."""
        return StoredImages(self._path, self._stored, size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Images by number, uint8, shape ``(chosen, height, width, channels)``."""
        numbers = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows.tolist()
        pixels = np.empty((len(numbers), *self._stored[1:]), np.uint8)
        for image, number in zip(pixels, numbers, strict=True):
            if os.preadv(self._file, [image.data], number * image.nbytes) != image.nbytes:
                raise DataError(str(self._path), "became shorter while it was in use", "run again")
        return torch.from_numpy(middle_of(pixels, self._size))


class Chosen:
    """Some of other images, by number; nothing is copied before it is asked for."""

    def __init__(self, images: "Images", numbers: Tensor) -> None:
        self._images, self._numbers = images, numbers
        self.shape: tuple[int, ...] = (len(numbers), *images.shape[1:])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Images by number, uint8."""
        return self._images[self._numbers[rows]]


class Joined:
    """The images of several, one after the other; nothing is copied before it is asked for.

    Args:
        parts: one or more, of images of one size.
    """

    def __init__(self, *parts: "Images") -> None:
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Images by number, uint8."""
        numbers = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        found = torch.empty((len(numbers), *self.shape[1:]), dtype=torch.uint8)
        owners, begins = torch.searchsorted(self._ends, numbers.contiguous(), right=True), 0
        for index, part in enumerate(self._parts):
            mine = owners == index
            if mine.any():
                found[mine] = part[numbers[mine] - begins]
            begins = int(self._ends[index])
        return found


Images: TypeAlias = Tensor | StoredImages | Chosen | Joined
"""Has a ``shape`` and a length; a slice or a tensor of numbers gives a uint8 tensor."""
