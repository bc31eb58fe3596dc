"""A user's own functions, named in YAML as ``package.module:name``: the only code that a file may name."""

import contextlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import ConfigError

_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
FUNCTION = rf"^{_DOTTED}:[A-Za-z_][A-Za-z0-9_]*$"
"""What such a name looks like."""


def is_function(name: str) -> bool:
    """Does the name look like ``package.module:name``?

    >>> is_function("nets.mine:small"), is_function("resnet18"), is_function("os;x:y")
    (True, False, False)
    """
    return re.fullmatch(FUNCTION, name) is not None


def named_function(name: str, where: str) -> Callable[..., Any]:
    """The function, imported from the current directory or from what is installed.

    Args:
        name: ``package.module:name``.
        where: the dotted place that names it, for errors.

    Raises:
        ConfigError: there is no such module or function, or importing it fails.
    """
    module, _, attribute = name.partition(":")
    try:
        with importable_here():
            found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(where, f"{name!r} cannot be imported ({reason})", "name it as package.module:name") from None
    if not callable(found):
        raise ConfigError(where, f"{name!r} is no function", "name a function")
    function: Callable[..., Any] = found
    return function


@contextlib.contextmanager
def importable_here() -> Iterator[None]:
    """Modules of the current folder can be imported, as with ``python -m``."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
