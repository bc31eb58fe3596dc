"""predictions.npz: the class that each exported file chose for every test image, and the right one.

``numpy.load`` opens it: ``labels``, and ``models/<id>`` for each file; unsigned whole numbers, shape ``(count,)``.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgekd.errors import ReportError
from edgekd.store.disk import reading

if TYPE_CHECKING:
    from torch import Tensor

FILE = "predictions.npz"
LABELS, MODELS, SUFFIX = "labels", "models/", ".npy"
MOST_BYTES = 2**28
"""Largest total size of the arrays, unpacked."""
MOST_ARRAYS = 1000
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
            arrays = _arrays(path)
        labels = arrays.pop(LABELS)
    except (ValueError, KeyError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise ReportError(str(path), f"holds no predictions ({_words(error)})", "run the pipeline again") from None
    return Predictions(labels, {name.removeprefix(MODELS): classes for name, classes in arrays.items()})


def _arrays(path: Path) -> dict[str, Numbers]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members(members)
        arrays = {member.filename.removesuffix(SUFFIX): _array(archive, member) for member in members}
    if len({len(classes) for classes in arrays.values()}) > 1:
        raise ValueError("its arrays differ in length")
    return arrays


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    # A zip bomb is refused by its claimed sizes; zipfile never unpacks more than the claimed size.
    if len(members) > MOST_ARRAYS or sum(member.file_size for member in members) > MOST_BYTES:
        raise ValueError(f"more than {MOST_ARRAYS} arrays or {MOST_BYTES} bytes")
    if f"{LABELS}{SUFFIX}" not in names:
        raise ValueError("it has no labels")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise ValueError("an unknown compression")
    if len(set(names)) < len(names):
        raise ValueError("a name is used twice")
    for name in set(names) - {f"{LABELS}{SUFFIX}"}:
        if not (name.startswith(MODELS) and name.endswith(SUFFIX)):
            raise ValueError(f"{name[:60]!r} is not an array of a model")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Numbers:
    """One array; its header is checked before it is used."""
    stored = io.BytesIO(archive.read(member))
    # Later versions of the format allow headers of gigabytes.
    if np.lib.format.read_magic(stored) != (1, 0):
        raise ValueError("an array of another format")
    shape, _, kind = np.lib.format.read_array_header_1_0(stored)
    numbers = stored.read()
    if kind.kind != "u" or kind.itemsize > 4 or len(shape) != 1 or shape[0] * kind.itemsize != len(numbers):
        raise ValueError(f"an array of {kind} and shape {shape} in {len(numbers)} bytes")
    return np.frombuffer(numbers, kind)


def _words(error: Exception) -> str:
    """First line of an error, shortened."""
    return str(error).partition("\n")[0][:100] or type(error).__name__
