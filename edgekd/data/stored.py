"""Images that stay on disk: only the requested rows are read."""

import os
import weakref
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from edgekd.errors import DataError
from edgekd.store.disk import reading


class StoredImages:
    """uint8 pixels in a file, one image after the other, without a header.

    Read, not memory-mapped: mapped pages would count as this process's memory. The file may be deleted while in use.

    Args:
        path: the file.
        shape: ``(count, height, width, channels)`` in the file.
        size: side, in pixels, of the central crop that is returned; the image's own size for no crop.

    Raises:
        DataError: the file is missing or does not have that many bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], size: int) -> None:
        self._path, self._stored, self._size = path, shape, size
        self.shape = (shape[0], size, size, shape[3])
        with reading(path, DataError, "run again"):
            self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if os.fstat(self._file).st_size != np.prod(shape, dtype=np.int64):
            raise DataError(str(path), "has not the size it was written with", "run again")

    def middle(self, size: int) -> "StoredImages":
        """The same images without their margin."""
        return StoredImages(self._path, self._stored, size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Images by number, uint8, shape ``(chosen, size, size, channels)``."""
        numbers = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows.tolist()
        pixels = np.empty((len(numbers), *self._stored[1:]), np.uint8)
        for image, number in zip(pixels, numbers, strict=True):
            if os.preadv(self._file, [image.data], number * image.nbytes) != image.nbytes:
                raise DataError(str(self._path), "became shorter while it was in use", "run again")
        return torch.from_numpy(middle(pixels, self._size))


Images: TypeAlias = Tensor | StoredImages
"""Has a ``shape`` and a length; a slice or a tensor of numbers gives a uint8 tensor."""


def middle(pixels: np.ndarray, size: int) -> np.ndarray:
    """The middle ``size`` by ``size`` of images, shape ``(count, height, width, channels)``."""
    top, left = ((side - size) // 2 for side in pixels.shape[1:3])
    return pixels[:, top : top + size, left : left + size]
