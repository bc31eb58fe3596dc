"""Texts of the code as Markdown."""

import inspect
import re


def plain(text: str) -> str:
    r"""A text in which nothing is markup but ``code``.

    >>> plain("alpha * CE, as ``a * b``")
    'alpha \\* CE, as ``a * b``'
    """
    parts = re.split(r"(``[^`]*``|`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]|])", r"\\\1", part) for part in parts)


def sentence(text: str) -> str:
    """A description as a sentence.

    >>> sentence("softens both distributions")
    'Softens both distributions.'
    """
    begins_with_a_word = re.match(r"[a-z]+(?=[ ,;:.]|$)(?!://)", text)
    return plain(text[:1].upper() + text[1:] if begins_with_a_word else text).rstrip(".") + "."


def explained(thing: object) -> str:
    """A docstring as Markdown."""
    return plain(inspect.getdoc(thing) or "")
