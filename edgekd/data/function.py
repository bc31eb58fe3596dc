"""The dataset ``function``: images that a user's function returns.

def images():
    return {
        "class_names": ["cat", "dog"],
        "train": (pixels, labels),  # uint8 (count, height, width, channels) or (count, height, width); whole numbers
        "val": (pixels, labels),  # may be left out: a fifth of train is held out
        "test": (pixels, labels),
    }

Pictures of 1 or 3 channels may be of any size and are resized once. Other arrays have the size that ``image_size``
says and up to 256 channels; with ``range: [low, high]`` they hold numbers of any type: spectrograms, sensors' windows.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from edgekd.config.functions import FUNCTION, importable_here, named_function
from edgekd.config.progress import Progress
from edgekd.config.words import shown
from edgekd.data.augment import Augment
from edgekd.data.dataset import Dataset, Split
from edgekd.data.settings import OwnSettings
from edgekd.data.splits import hold_out_each
from edgekd.data.value_range import ValueRange, holds
from edgekd.errors import DataError
from edgekd.ondevice.limits import MOST_CHANNELS
from edgekd.ondevice.pixels import fit_image
from edgekd.ondevice.sizes import sides, size_in_words

VAL_SHARE = 0.2
NOTED = 0.01
"""Share of numbers outside of their range from which on a report tells of them."""
Array = np.ndarray[Any, Any]


class Function(OwnSettings):
    """Images or other arrays that a user's function returns."""

    name: Literal["function"] = "function"
    function: str = Field(pattern=FUNCTION, description="package.module:name, called without arguments")
    range: ValueRange | None = Field(
        None,
        description="[low, high] of numbers that are no pixels: 256 levels between are what a network sees, and the "
        "exported file makes them of float32 numbers itself",
    )

    @field_validator("range", mode="before")
    @classmethod
    def _two_numbers(cls, given: Any) -> Any:
        if given is None:
            return None
        numbers = isinstance(given, list | tuple) and len(given) == 2
        if numbers and all(type(number) in (int, float) for number in given):
            unit = ValueRange(float(given[0]), float(given[1]))
            if holds(unit):
                return unit
        raise ValueError(f"must be two numbers, [low, high], the first one lower; found {shown(given)}")

    @property
    def augment_name(self) -> str:
        """Numbers that are no pixels stay as they are, unless the user knows of a change that they bear."""
        return self.augment or ("none" if self.range else self.USUAL_AUGMENT)

    def load(self, augment: Augment, _progress: Progress) -> Dataset:
        found = _called(self.function)
        class_names = _class_names(found, self.function)
        arrays = {
            part: _arrays(found[part], f"{self.function}: {part}", len(class_names), self.range)
            for part in _parts(found, self.function)
        }
        _check_alike(arrays, self.function, class_names)
        arrays = _with_val(arrays, self.function)
        splits = {part: self._split(*pair) for part, pair in arrays.items()}
        notes = _outside(arrays, self.range) if self.range else ()
        return Dataset(self.name, class_names, splits["train"], splits["val"], splits["test"], augment, notes)

    def _split(self, values: Array, labels: Array) -> Split:
        pixels = self.range.levels(values) if self.range else values
        if pixels.shape[1:3] != sides(self.image_size):
            if self.range or pixels.shape[3] not in (1, 3):
                height, width = pixels.shape[1:3]
                problem = f"is {size_in_words(self.image_size)}, the arrays of {self.function} are {height}x{width}"
                raise DataError("data.image_size", problem, f"give image_size: [{height}, {width}]")
            pixels = np.stack([fit_image(image, self.image_size, self.resize) for image in pixels])
        # Copied: if the user's code changes its array later, the images must still match the fingerprint.
        return Split(torch.from_numpy(np.array(pixels)), torch.from_numpy(labels), unit=self.range)


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


def _arrays(given: Any, where: str, classes: int, unit: ValueRange | None) -> tuple[Array, Array]:
    """Pixels, shape ``(count, height, width, channels)``, and labels of one split."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(where, "is not a pair", "give (pixels, labels)")
    pixels, labels = (np.asarray(item) for item in given)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or 0 in pixels.shape or pixels.shape[3] > MOST_CHANNELS:
        problem = f"has pixels of type {pixels.dtype} and shape {pixels.shape}"
        raise DataError(where, problem, f"give (count, height, width, channels) with 1 to {MOST_CHANNELS} channels")
    _check_numbers(pixels, where, unit)
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        problem = f"has labels of type {labels.dtype} and shape {labels.shape} for {len(pixels)} images"
        raise DataError(where, problem, "give one whole number for each image")
    if labels.min() < 0 or labels.max() >= classes:
        problem = f"has labels from {labels.min()} to {labels.max()}"
        raise DataError(where, problem, f"{classes} class_names have the numbers 0 to {classes - 1}")
    return pixels, labels.astype(np.int64)


def _check_numbers(values: Array, where: str, unit: ValueRange | None) -> None:
    """Raise DataError unless arrays hold pixels, or finite numbers where a range is declared."""
    if unit is None and values.dtype != np.uint8:
        problem = f"has pixels of type {values.dtype} and shape {values.shape}"
        raise DataError(where, problem, "give uint8, or say data.range: [low, high] of numbers that are no pixels")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        problem = f"has numbers of type {values.dtype} that are not all finite"
        raise DataError(where, problem, "give real numbers, without NaN and infinity")


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


def _outside(arrays: Mapping[str, tuple[Array, Array]], unit: ValueRange) -> tuple[str, ...]:
    """A note on numbers that are clipped; a few are usual."""
    share = max(unit.outside(values) for values, _ in arrays.values())
    low, high = f"{unit.low:g}", f"{unit.high:g}"
    return (f"{share:.1%} of the numbers of a split lie outside of range, {low} to {high}, and are clipped",) * (
        share >= NOTED
    )
