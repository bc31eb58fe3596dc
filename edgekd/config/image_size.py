"""The setting ``image_size``: one number for a square, or ``[height, width]``."""

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from edgekd.config.words import shown
from edgekd.ondevice.limits import MOST_IMAGE_SIZE
from edgekd.ondevice.sizes import Size, size_of

LEAST_SQUARE = 8
"""Pixels of the longer side at least. The other one may be 1, as of a sensor's window."""
_NUMBER = {"type": "integer", "minimum": LEAST_SQUARE, "maximum": MOST_IMAGE_SIZE}
_SIDE = {"type": "integer", "minimum": 1, "maximum": MOST_IMAGE_SIZE}
_PAIR = {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}


def _checked(given: Any) -> Size:
    pair = given if isinstance(given, list | tuple) else (given, given)
    # Not isinstance: True and False are ints too.
    whole = len(pair) == 2 and all(type(side) is int and 1 <= side <= MOST_IMAGE_SIZE for side in pair)
    if whole and max(pair) >= LEAST_SQUARE:
        return size_of(*pair)
    range_of = f"from {LEAST_SQUARE} to {MOST_IMAGE_SIZE}"
    raise ValueError(f"must be a whole number {range_of}, or two, [height, width]; found {shown(given)}")


ImageSize = Annotated[Size, PlainValidator(_checked), WithJsonSchema({"anyOf": [_NUMBER, _PAIR]})]
"""A square given as a pair becomes one number: the same images have one digest."""
