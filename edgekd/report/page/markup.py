"""HTML that is safe by construction: whatever is not Html already is escaped."""

from collections.abc import Iterable
from html import escape

from edgekd.report.wording import plain


class Html(str):
    """Finished markup, to be put into a page as it is."""


NOTHING = Html("")


def el(name: str, *children: str, **attributes: str) -> Html:
    """An element; text among its children is escaped, and ``class_`` stands for ``class``.

    >>> el("p", "1 < 2 ", el("b", "true"), class_="sum")
    '<p class="sum">1 &lt; 2 <b>true</b></p>'
    """
    written = "".join(f' {key.strip("_")}="{escape(plain(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    return Html("".join(part if isinstance(part, Html) else escape(plain(part)) for part in parts))
