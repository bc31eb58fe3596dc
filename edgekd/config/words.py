"""How locations, keys and values are written in one-line errors."""

import difflib
from collections.abc import Iterable
from typing import Any


def suggest(word: str, known: list[str]) -> str:
    """'did you mean' the closest known word, and the list of all."""
    close = difflib.get_close_matches(word, known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"


def dotted(loc: Iterable[int | str]) -> str:
    """A location in a tree of settings as people write it.

    >>> dotted(("stages", 2, "temperature"))
    'stages[2].temperature'
    """
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{cut(part)}" if text else cut(part)
    return text


def shown(value: Any) -> str:
    return "nothing" if value is None else cut(repr(value))


def cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def kind_of(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true/false"}
    return names.get(type(value), "a number")
