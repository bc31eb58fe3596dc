"""The size of an image: one number for a square, else height and width."""

from typing import Tuple, Union

Sides = Tuple[int, int]
"""Height and width, in pixels."""
Size = Union[int, Sides]
"""One number for a square, which is never written as a pair."""


def sides(size: Size) -> Sides:
    """Height and width.

    >>> sides(32), sides((96, 160))
    ((32, 32), (96, 160))
    """
    return (size, size) if isinstance(size, int) else size


def size_of(height: int, width: int) -> Size:
    """The size that has these sides.

    >>> size_of(32, 32), size_of(96, 160)
    (32, (96, 160))
    """
    return height if height == width else (height, width)


def size_in_words(size: Size) -> str:
    """A size as texts have it.

    >>> size_in_words(32), size_in_words((96, 160))
    ('32x32', '96x160')
    """
    return "x".join(map(str, sides(size)))
