"""Renders a page's templates: every value is escaped, and an undefined name is an error."""

import functools
import json

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgekd.ondevice.sizes import size_in_words
from edgekd.report import wording as w


def filled(template: str, package: str = __package__, **values: object) -> str:
    """Render a self-contained page: no script, no network.

    Args:
        template: its file in ``templates/`` of the package, or of this one.
        values: what the template names.
    """
    return _environment(package).get_template(template).render(values)


@functools.cache
def _environment(package: str) -> Environment:
    """Remembered, because compiling the templates takes longer than filling them."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=True,
        # By default Jinja silently renders a misspelt name as nothing.
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": w.percent, "seconds": w.seconds, "fact": fact, "size": size_in_words}
    return environment


def fact(value: object) -> object:
    """A setting or a fact as it is read: text as it stands, whole numbers with commas, lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if type(value) is int else json.dumps(value, ensure_ascii=False, default=str)


def _harmless(value: object) -> object:
    """Leave Markup as it is; remove control characters from everything else, which is escaped afterwards."""
    return value if isinstance(value, Markup) else w.plain(value)
