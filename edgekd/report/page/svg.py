"""Draws plots in one style as inline SVG; equal figures give equal bytes."""

import io
import re
import warnings
from collections.abc import Callable

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from edgekd.report.wording import plain

INK, MUTED, GRID = "#1b2733", "#5b6b7a", "#e6ebf0"
# At 72 dots an inch about the width of the page, so that text keeps its size.
WIDTH_INCHES = 14.2

_SETTINGS = {
    "figure.dpi": 72,
    "font.family": "sans-serif",
    "font.size": 12,
    # A class may be called $5, which matplotlib would take for the beginning of a formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": "#c3ccd5",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    # Text stays text: small, searchable, in the reader's own font.
    "svg.fonttype": "none",
}


def shortened(name: str, longest: int = 32) -> str:
    """A name on one line, its middle left out where it is long."""
    text = plain(name)
    return text if len(text) <= longest else f"{text[: longest - 9]}…{text[-8:]}"


def _percent_tick(share: float, _: int | None = None) -> str:
    return f"{100 * share:.4g}"


PERCENT = FuncFormatter(_percent_tick)
"""Shares on an axis, in per cent."""


def svg(title: str, height_inches: float, draw: Callable[[Figure], None], width_inches: float = WIDTH_INCHES) -> Markup:
    """What ``draw`` draws, as one element of a page; each plot of a page needs a title of its own."""
    written = io.StringIO()
    # The same report must give the same bytes: without a salt matplotlib's ids are random, and its metadata hold the
    # date. The title as salt also keeps the ids of the plots on one page apart.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": title}), warnings.catch_warnings():
        # Text is measured in matplotlib's font but shown in the reader's, which may well have the glyph.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Not pyplot, which keeps every figure in a global list.
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        draw(figure)
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return _inline(written.getvalue(), title)


def _inline(document: str, title: str) -> Markup:
    """Strip a stand-alone SVG file for inlining: prologue, namespaces, metadata and ids go."""
    opening, body = re.fullmatch(r".*?(<svg[^>]*>)(.*)", document, re.DOTALL).groups()  # type: ignore[union-attr]
    view_box = re.search(r'viewBox="[^"]*"', opening)
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace('<use xlink:href="#', '<use href="#')
    body = re.sub(r" font-family: 'DejaVu Sans'[^;]*;", "", body)
    opening = f'<svg {view_box[0] if view_box else ""} role="img" aria-label="{escape(plain(title))}">'
    return Markup(opening + body.strip())  # noqa: S704
