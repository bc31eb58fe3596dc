"""Fills a page's templates: every value is made harmless, and a name that is not there is an error."""

import json

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgekd.report import wording as w


def filled(template: str, package: str = __package__, **values: object) -> str:
    """A page that needs nothing else: no script, no network.

    Args:
        template: its file in ``templates/`` of the package, or of this one.
        values: what the template names.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=True,
        # Jinja would silently leave an empty place for a misspelt name.
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": w.percent, "seconds": w.seconds, "fact": fact}
    return environment.get_template(template).render(values)


def fact(value: object) -> object:
    """A setting or a fact as it is read: text as it stands, whole numbers with commas, lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if type(value) is int else json.dumps(value, ensure_ascii=False, default=str)


def _harmless(value: object) -> object:
    """Finished markup as it is, everything else without control characters; it is escaped afterwards."""
    return value if isinstance(value, Markup) else w.plain(value)
