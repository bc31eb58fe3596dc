"""Arrays of .npy and .npz files from elsewhere: no code is executed, no more memory is taken than there are bytes."""

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

SUFFIX = ".npy"
MOST_ARRAYS = 1000
MOST_ARRAY_BYTES = 2**28
"""Largest total size of the arrays, unpacked."""


# A finding about a file: re-raised as a Fault or a ReportError, with what the arrays were for.
class BadArrays(ValueError):  # noqa: N818
    """A file that is not an archive of plain arrays, is damaged or too large; says why in a few words."""


def read_arrays(path: Path) -> Dict[str, Any]:
    """Every array of an .npz file, by name: booleans, whole numbers and floats of any shape, not to be written to.

    Raises:
        BadArrays: it is damaged, too large, or holds anything else.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members)
            return {member.filename[: -len(SUFFIX)]: _array(archive.read(member)) for member in members}
    # zipfile has no error class of its own for most damage. RuntimeError: an encrypted archive; OverflowError: a shape
    # of no elements along an axis that is longer than any array.
    except (
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        OverflowError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise BadArrays(str(error).partition("\n")[0][:100] or type(error).__name__) from None


def read_array(path: Path) -> Any:
    """The array of an .npy file: booleans, whole numbers or floats of any shape, not to be written to.

    Raises:
        BadArrays: it is damaged, too large, or holds anything else.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        # One byte beyond the limit: a file of any size is refused without being read whole.
        stored = file.read(MOST_ARRAY_BYTES + 1)
    if len(stored) > MOST_ARRAY_BYTES:
        raise BadArrays(f"more than {MOST_ARRAY_BYTES} bytes")
    try:
        return _array(stored)
    except (ValueError, OverflowError, struct.error) as error:
        raise BadArrays(str(error).partition("\n")[0][:100] or type(error).__name__) from None


def _check_members(members: List[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    # A zip bomb is refused by its claimed sizes; zipfile never unpacks more than the claimed size.
    if len(members) > MOST_ARRAYS or sum(member.file_size for member in members) > MOST_ARRAY_BYTES:
        raise BadArrays(f"more than {MOST_ARRAYS} arrays or {MOST_ARRAY_BYTES} bytes")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise BadArrays("an unknown compression")
    if len(set(names)) < len(names):
        raise BadArrays("a name is used twice")
    for name in names:
        if not name.endswith(SUFFIX):
            raise BadArrays(f"{name[:60]!r} is not an array")


def _array(content: bytes) -> Any:
    """One array; not by numpy.load, which allocates what the array's header claims, be it petabytes."""
    stored = io.BytesIO(content)
    shape, by_columns, kind = _header(stored)
    numbers = stored.read()
    plain = kind.kind in "biuf" and all(size >= 0 for size in shape)
    if not plain or math.prod(shape) * kind.itemsize != len(numbers):
        raise BadArrays(f"an array of {kind} and shape {shape} in {len(numbers)} bytes")
    return np.frombuffer(numbers, kind).reshape(shape, order="F" if by_columns else "C")


def _header(stored: io.BytesIO) -> Any:
    """Shape, whether it is stored by columns, and type of the numbers."""
    try:
        version = np.lib.format.read_magic(stored)
        # Later versions of the format allow headers of gigabytes; this one's are at most 64 kB.
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stored)
    # numpy parses the header as Python, which raises every kind of error on damage: a TypeError, and for nesting that
    # is too deep even a MemoryError.
    except Exception:
        raise BadArrays("an array without a header") from None
    raise BadArrays("an array of another format")
