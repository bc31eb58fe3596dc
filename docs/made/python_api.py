"""The Python API: what ``edgekd.__all__`` names, by mkdocstrings."""

from typing import Any

import edgekd


def page() -> str:
    """Each name with its signature and docstring."""
    begin = (
        "# The Python API\n\n"
        "Imported from `edgekd` on first use; [the parts on your own network](library.md) shows them at work."
    )
    return "\n\n".join([begin, *(_told(getattr(edgekd, name)) for name in edgekd.__all__)]) + "\n"


def _told(thing: Any) -> str:
    members = "\n    options:\n      members: [from_yaml, plan, run]" if thing is edgekd.Pipeline else ""
    return f"::: {thing.__module__}.{thing.__name__}{members}"
