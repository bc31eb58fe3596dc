"""Pictures that tests make, and folders full of them."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from edgekd.data import Folder
from edgekd.ondevice.pixels import Pixels

RED, BLUE = (230, 20, 20), (20, 20, 230)


def noise(seed: int, height: int = 20, width: int = 24, channels: int = 3) -> Pixels:
    """Pixels no two of which pictures share, shape ``(height, width, channels)``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, pixels: Pixels) -> Path:
    """As a file, its kind by its name, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def make_tree(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """So many different PNG pictures in each folder below ``root``."""
    number = seed * 100_000
    for folder, count in counts.items():
        for index in range(count):
            save(root / folder / f"{index:03}.png", noise(number))
            number += 1
    return root


def settings(root: Path, **further: object) -> Folder:
    """Of a folder; its resized images lie beside it."""
    about = {"root": str(root), "image_size": 8, "cache": str(root.parent / "cache"), **further}
    return Folder.model_validate(about)


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file with any header, whether or not it tells the truth.

    Args:
        depth: bits of a sample.
        colour: PNG's colour type.
        rows: each with its filter byte.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
