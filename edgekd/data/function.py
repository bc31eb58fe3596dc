"""The dataset ``function``: images that a user's function returns.

def images():
    return {
        "class_names": ["cat", "dog"],
        "train": (pixels, labels),  # uint8 (count, height, width, channels) or (count, height, width); whole numbers
        "val": (pixels, labels),  # may be left out: a fifth of train is held out
        "test": (pixels, labels),
    }
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from edgekd.config.functions import FUNCTION, importable_here, named_function
from edgekd.config.progress import Progress
from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset, Split
from edgekd.data.settings import OwnSettings
from edgekd.data.splits import hold_out_each
from edgekd.errors import DataError
from edgekd.ondevice.pixels import Rule, fit_image
from edgekd.ondevice.sizes import Size, sides

VAL_SHARE = 0.2
Array = np.ndarray[Any, Any]


class Function(OwnSettings):
    """Images that a user's function returns, each resized once."""

    name: Literal["function"] = "function"
    function: str = Field(pattern=FUNCTION, description="package.module:name, called without arguments")

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        found = _called(self.function)
        class_names = _class_names(found, self.function)
        arrays = {
            part: _arrays(found[part], f"{self.function}: {part}", len(class_names))
            for part in _parts(found, self.function)
        }
        _check_alike(arrays, self.function, class_names)
        arrays = _with_val(arrays, self.function)
        splits = {part: _split(*pair, self.image_size, self.resize) for part, pair in arrays.items()}
        return Dataset(self.name, class_names, splits["train"], splits["val"], splits["test"], augment)


def _called(name: str) -> Mapping[str, Any]:
    wanted = named_function(name, "data.function")
    try:
        with importable_here():
            found = wanted()
    # The user's own code may raise anything.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        problem = f"fails ({type(error).__name__}: {reason})"
        raise DataError(name, problem, "it is called without arguments; --debug shows where it fails") from error
    if not isinstance(found, Mapping):
        raise DataError(name, f"gives {type(found).__name__}", "return a dict with class_names, train and test")
    return found


def _class_names(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = found.get("class_names")
    if not isinstance(names, list | tuple) or not all(isinstance(item, str) for item in names):
        raise DataError(name, "gives no list of text under 'class_names'", "one name for each class")
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(name, "gives fewer than two class_names, or one twice", "one name for each class")
    for item in names:
        # Lone surrogates cannot be encoded as UTF-8: writing labels.txt would fail after the whole training.
        if any("\ud800" <= letter <= "\udfff" for letter in item):
            raise DataError(name, f"gives the class name {item!r}, which is not UTF-8", "rename it")
    return tuple(names)


def _parts(found: Mapping[str, Any], name: str) -> list[str]:
    missing = [part for part in ("train", "test") if part not in found]
    unknown = [repr(key) for key in found if key not in ("class_names", "train", "val", "test")]
    if missing or unknown:
        problem = f"gives no {missing[0]!r}" if missing else f"gives the unknown key {unknown[0]}"
        raise DataError(name, problem, "return a dict with class_names, train, perhaps val, and test")
    return [part for part in ("train", "val", "test") if part in found]


def _arrays(given: Any, where: str, classes: int) -> tuple[Array, Array]:
    """Pixels, shape ``(count, height, width, channels)``, and labels of one split."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(where, "is not a pair", "give (pixels, labels)")
    pixels, labels = (np.asarray(item) for item in given)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
        problem = f"has pixels of type {pixels.dtype} and shape {pixels.shape}"
        raise DataError(where, problem, "give uint8, (count, height, width, channels) with 1 or 3 channels")
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        problem = f"has labels of type {labels.dtype} and shape {labels.shape} for {len(pixels)} images"
        raise DataError(where, problem, "give one whole number for each image")
    if labels.min() < 0 or labels.max() >= classes:
        problem = f"has labels from {labels.min()} to {labels.max()}"
        raise DataError(where, problem, f"{classes} class_names have the numbers 0 to {classes - 1}")
    return pixels, labels.astype(np.int64)


def _check_alike(arrays: Mapping[str, tuple[Array, Array]], name: str, class_names: tuple[str, ...]) -> None:
    channels = {pixels.shape[3] for pixels, _ in arrays.values()}
    if len(channels) > 1:
        raise DataError(name, f"gives splits of {sorted(channels)} channels", "give all the same number of channels")
    for number, class_name in enumerate(class_names):
        if number not in arrays["train"][1]:
            raise DataError(
                name, f"gives no training image of the class {class_name!r}", "give some, or drop the class"
            )


def _with_val(arrays: dict[str, tuple[Array, Array]], name: str) -> dict[str, tuple[Array, Array]]:
    if "val" in arrays:
        return arrays
    pixels, labels = arrays["train"]
    if np.bincount(labels).min() < 2:
        raise DataError(name, "gives a class with 1 training image, too few to hold out val", "give more, or give val")
    stay, apart = hold_out_each(labels, VAL_SHARE)
    return {"train": (pixels[stay], labels[stay]), "val": (pixels[apart], labels[apart]), "test": arrays["test"]}


def _split(pixels: Array, labels: Array, size: Size, rule: Rule) -> Split:
    if pixels.shape[1:3] != sides(size):
        pixels = np.stack([fit_image(image, size, rule) for image in pixels])
    # Copied: if the user's code changes its array later, the images must still match the fingerprint.
    return Split(torch.from_numpy(np.array(pixels)), torch.from_numpy(labels))
