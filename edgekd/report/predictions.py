"""predictions.npz: the class that each exported file chose for every test image, and the right one.

``numpy.load`` opens it: ``labels``, and ``models/<id>`` for each file; unsigned whole numbers, shape ``(count,)``.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgekd.errors import ReportError
from edgekd.ondevice.arrays import SUFFIX, BadArrays, read_arrays
from edgekd.store.disk import reading

if TYPE_CHECKING:
    from torch import Tensor

FILE = "predictions.npz"
LABELS, MODELS = "labels", "models/"
Numbers: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions:
    """The answers of files on the test images.

    Args:
        labels: the right classes, shape ``(count,)``.
        chosen: file's id -> the classes that it chose, in the same order.
    """

    labels: Numbers
    chosen: Mapping[str, Numbers]

    def right(self, model: str) -> Numbers:
        """Which images a file gets right, bool, shape ``(count,)``."""
        right: Numbers = self.chosen[model] == self.labels
        return right


def write_predictions(path: Path, chosen: Mapping[str, "Tensor"], labels: "Tensor") -> None:
    """Write classes in the smallest unsigned type that holds them; the same classes give the same bytes.

    Args:
        path: the file.
        chosen: file's id -> class of each image, not negative, shape ``(count,)``.
        labels: the right classes, same shape.
    """
    arrays = {LABELS: labels, **{f"{MODELS}{name}": classes for name, classes in chosen.items()}}
    # Not numpy.savez: it cannot write an array called "file", and puts the time of day into the archive.
    with zipfile.ZipFile(path, "w") as archive:
        for name, classes in arrays.items():
            written = io.BytesIO()
            np.lib.format.write_array(written, _smallest(classes.numpy()), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}{SUFFIX}"), written.getvalue(), zipfile.ZIP_DEFLATED)


def _smallest(classes: Numbers) -> Numbers:
    if classes.min(initial=0) < 0:
        raise ValueError(f"a class is a number from 0, found {classes.min()}")
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))


def read_predictions(path: Path) -> Predictions:
    """Read what ``write_predictions`` wrote; no code is executed, and the unpacked size is limited.

    Raises:
        ReportError: the file is missing, damaged, too large, or holds anything else.
    """
    try:
        with reading(path, ReportError, "run the pipeline again"):
            arrays = read_arrays(path)
        _check_classes(arrays)
    except BadArrays as error:
        raise ReportError(str(path), f"holds no predictions ({error})", "run the pipeline again") from None
    labels = arrays.pop(LABELS)
    return Predictions(labels, {name.removeprefix(MODELS): classes for name, classes in arrays.items()})


def _check_classes(arrays: Mapping[str, Numbers]) -> None:
    if LABELS not in arrays:
        raise BadArrays("it has no labels")
    for name, classes in arrays.items():
        if name != LABELS and not name.startswith(MODELS):
            raise BadArrays(f"{(name + SUFFIX)[:60]!r} is not an array of a model")
        if classes.dtype.kind != "u" or classes.dtype.itemsize > 4 or classes.ndim != 1:
            raise BadArrays(f"an array of {classes.dtype} and shape {classes.shape}")
    if len({len(classes) for classes in arrays.values()}) > 1:
        raise BadArrays("its arrays differ in length")
