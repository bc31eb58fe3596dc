"""How places, keys and values are written in a mistake's one line."""

import difflib
from collections.abc import Iterable
from typing import Any


def suggest(word: str, known: list[str]) -> str:
    """The known word that is nearest, and all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"


def dotted(loc: Iterable[int | str]) -> str:
    """A place in a tree as people write it.

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
