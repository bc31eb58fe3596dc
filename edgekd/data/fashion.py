"""Fashion-MNIST: 70 000 grey pictures of clothes, 28x28, ten classes.

Source: Xiao, Rasul, Vollgraf (2017).
"""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset, Split
from edgekd.data.settings import PublishedSettings
from edgekd.data.splits import hold_out, resize
from edgekd.errors import DataError
from edgekd.ondevice.sizes import Size

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VAL_SHARE = 0.1
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip
HOW_TO_GET = "install Debian's dataset-fashion-mnist, or set data.root and data.download: true"


class FashionMnist(PublishedSettings):
    """60 000 training images, a tenth of which become ``val``, and 10 000 test images."""

    name: Literal["fashion_mnist"] = "fashion_mnist"

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        folder = _folder(self)
        whole = _part(folder, "train", 60_000, self.image_size)
        test = _part(folder, "t10k", 10_000, self.image_size)
        train, val = hold_out(whole, VAL_SHARE)
        return Dataset(self.name, CLASS_NAMES, train, val, test, augment)


def _folder(settings: FashionMnist) -> Path:
    """Where the four files are: below root as torchvision puts them or as they come, else where Debian puts them."""
    root = Path(settings.root).expanduser() if settings.root else None
    places = [root / "FashionMNIST" / "raw", root] if root else [DEBIAN]
    found = next((place for place in places if _file(place, "t10k-labels-idx1-ubyte") is not None), None)
    if found is not None:
        return found
    if root is None or not settings.download:
        raise DataError(str(root or DEBIAN), "Fashion-MNIST is not there", HOW_TO_GET)
    return _download(root)


def _download(root: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(root), download=True)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(str(root), f"Fashion-MNIST cannot be downloaded ({reason})", HOW_TO_GET) from None
    return root / "FashionMNIST" / "raw"


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _part(folder: Path, part: str, count: int, size: Size) -> Split:
    images = _idx(folder, f"{part}-images-idx3-ubyte", (count, 28, 28))
    labels = _idx(folder, f"{part}-labels-idx1-ubyte", (count,))
    return Split(resize(images[..., None], size), labels.long())


def _idx(folder: Path, name: str, shape: tuple[int, ...]) -> Tensor:
    """An IDX file of bytes: 0, 0, 8 (unsigned byte), number of dimensions, their sizes, the bytes."""
    path = _file(folder, name)
    if path is None:
        raise DataError(str(folder / name), "is missing", HOW_TO_GET)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"cannot be read ({error})", HOW_TO_GET) from None
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    if not raw.startswith(header) or len(raw) != len(header) + int(np.prod(shape)):
        raise DataError(str(path), f"is not an IDX file of {' x '.join(map(str, shape))} bytes", HOW_TO_GET)
    # Copied, because frombuffer returns read-only memory, about which torch warns.
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=len(header)).reshape(shape).copy())
