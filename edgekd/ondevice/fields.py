"""What a manifest must hold: type and range of every key that is read, on a device and where it is deployed from."""

import re
from typing import Any, Callable, Dict, Mapping, NamedTuple

from edgekd.ondevice.faults import Fault
from edgekd.ondevice.limits import MOST_BATCH, MOST_CHANNELS, MOST_IMAGE_SIZE, MOST_THREADS

MANIFEST = "manifest.json"
FROM_ITS_MAKER = "take the bundle from where it was made"
_MISSING = object()


class Wanted(NamedTuple):
    """What a key may hold.

    Args:
        words: the same in words, for the error.
        holds: is this value allowed?
    """

    words: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: int) -> Wanted:
    # Not isinstance: True and False are ints too.
    return Wanted(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _matching(pattern: str, words: str) -> Wanted:
    return Wanted(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


_TEXT = Wanted("a text", lambda value: isinstance(value, str))
_LIST = Wanted("a list", lambda value: isinstance(value, list))
_GROUP = Wanted("a group of keys", lambda value: isinstance(value, dict))
_TEXTS = Wanted(
    "a list of texts",
    lambda value: isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value),
)
_YES_OR_NO = Wanted("true or false", lambda value: isinstance(value, bool))
# Compared, not converted: float() of a whole number of 400 digits raises.
_TOLERANCE = Wanted("a number from 0 to 1e30", lambda value: type(value) in (int, float) and 0 <= value <= 1e30)
_FIELDS = {
    "name": _TEXT,
    "recommended": _TEXT,
    # It becomes part of a command that the user is told to type.
    "onnxruntime_min": _matching(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "a version like 1.18"),
    "classes": _TEXTS,
    "input": _GROUP,
    "input.height": _whole(1, MOST_IMAGE_SIZE),
    "input.width": _whole(1, MOST_IMAGE_SIZE),
    "input.channels": _whole(1, MOST_CHANNELS),
    "input.dtype": _matching("uint8|float32", "uint8 or float32"),
    "input.resize": _matching("crop|stretch", "crop or stretch"),
    "target": _GROUP,
    "target.isa": _TEXT,
    # 0: a float model.
    "target.weight_bits": _whole(0, 8),
    "target.threads": _whole(1, MOST_THREADS),
    "target.batch": _whole(1, MOST_BATCH),
    "golden": _GROUP,
    "golden.tolerance": _TOLERANCE,
    "files": _GROUP,
    "models": _LIST,
}
"""By dotted name; a group stands before its keys."""
_OF_A_FILE = {
    "sha256": _matching("[0-9a-f]{64}", "a SHA-256 in hexadecimal digits"),
    "size_bytes": _whole(0, 2**63 - 1),
    "device": _YES_OR_NO,
}
_OF_A_MODEL = {"id": _TEXT, "file": _TEXT}


def check_fields(body: Mapping[str, Any]) -> None:
    """Check every key that is read, so that nothing behind it needs to.

    Args:
        body: the manifest without its digest.

    Raises:
        Fault: the first key that is missing or holds something else.
    """
    for name, wanted in _FIELDS.items():
        group, _, key = name.rpartition(".")
        _check(name, body[group] if group else body, key, wanted)
    for file, about in body["files"].items():
        _check_group(f"files.{file}", about, _OF_A_FILE)
    for number, about in enumerate(body["models"]):
        _check_group(f"models[{number}]", about, _OF_A_MODEL)


def _check_group(name: str, about: Any, fields: Dict[str, Wanted]) -> None:
    if not _GROUP.holds(about):
        raise _fault(name, about, _GROUP)
    for key, wanted in fields.items():
        _check(f"{name}.{key}", about, key, wanted)


def _check(name: str, group: Mapping[str, Any], key: str, wanted: Wanted) -> None:
    found = group.get(key, _MISSING)
    if not wanted.holds(found):
        raise _fault(name, found, wanted)


def _fault(name: str, found: Any, wanted: Wanted) -> Fault:
    if found is _MISSING:
        return Fault(MANIFEST, f"has no {name[:200]}, which is {wanted.words}", FROM_ITS_MAKER)
    return Fault(MANIFEST, f"{name[:200]} is {_shown(found)}, not {wanted.words}", FROM_ITS_MAKER)


def _shown(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:60]}..."
