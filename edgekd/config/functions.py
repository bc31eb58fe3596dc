"""A user's own functions, named in YAML as ``package.module:name``: the only code that a pipeline file can run."""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from edgekd.errors import ConfigError

_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
FUNCTION = rf"^{_DOTTED}:[A-Za-z_][A-Za-z0-9_]*$"
"""Pattern of such a name."""


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
            _forget_if_changed(module)
            found = getattr(importlib.import_module(module), attribute)
    # Importing runs the user's module, which may raise anything.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(where, f"{name!r} cannot be imported ({reason})", "name it as package.module:name") from None
    if not callable(found):
        raise ConfigError(where, f"{name!r} is no function", "name a function")
    function: Callable[..., Any] = found
    return function


@contextlib.contextmanager
def importable_here() -> Iterator[None]:
    """Make modules of the current folder importable, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def source_digest(name: str) -> str:
    """SHA-256 of the source that decides what a function does, as 64 hexadecimal digits.

    That is its module and everything that the module imports, directly or indirectly, from the same folder; of an
    installed package, only the package itself. Nothing is executed. edgekd's own source is left out: its stages have
    versions.

    Args:
        name: ``package.module:name``.
    """
    with importable_here():
        return _digest(_sources(name.partition(":")[0]))


_imported: dict[str, str] = {}
"""Module name -> digest of the source from which it was imported."""


def _forget_if_changed(module: str) -> None:
    """Drop a module, and what it imports from its folder, from sys.modules if their source has changed."""
    # A notebook may run a pipeline again after its module was edited, and Python would go on with the old code.
    sources = _sources(module)
    digest = _digest(sources)
    if module in sys.modules and _imported.get(module, digest) != digest:
        for changed in sources:
            sys.modules.pop(changed, None)
    _imported[module] = digest


def _digest(sources: dict[str, bytes]) -> str:
    listed = sorted((name, hashlib.sha256(text).hexdigest()) for name, text in sources.items())
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def _sources(module: str) -> dict[str, bytes]:
    """Module name -> source, of a module and of what it imports from the same folder."""
    # Import finders cache folder listings and would not see a file written a moment ago.
    importlib.invalidate_caches()
    top = module.partition(".")[0]
    spec = _found(top)
    folder = None if spec is None else _folder_of(spec)
    found: dict[str, bytes] = {}
    seen, waiting = set[str](), [module]
    while folder is not None and waiting:
        name = waiting.pop()
        own = name.partition(".")[0] == top
        if name in seen or not (own or _followed(name, folder)):
            continue
        seen.add(name)
        for part in _parts(name, spec if own else None, folder):
            if part.name not in found:
                found[part.name] = _content(part)
                waiting += _imports(part, found[part.name])
    return found


def _found(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    # ValueError: a module in sys.modules that has no spec.
    except (ImportError, ValueError):
        return None


def _folder_of(spec: ModuleSpec) -> Path | None:
    """The folder that contains a module's file or a package."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def _followed(name: str, folder: Path) -> bool:
    """Is an imported module followed? Not edgekd itself, nor the neighbours of an installed package."""
    installed = {"site-packages", "dist-packages", f"python{sys.version_info.major}.{sys.version_info.minor}"}
    return name.partition(".")[0] != "edgekd" and not installed & set(folder.parts)


def _parts(name: str, top: ModuleSpec | None, folder: Path) -> list[ModuleSpec]:
    """A module and its parent packages, as far as they are found."""
    found: list[ModuleSpec] = []
    places: list[str] | None = [str(folder)]
    for end in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:end])
        # importlib.util.find_spec imports the packages around a dotted name, which would run the user's code.
        spec = top if end == 1 and top else PathFinder.find_spec(part, places)
        if spec is None:
            break
        found.append(spec)
        places = list(spec.submodule_search_locations or [])
    return found


def _content(spec: ModuleSpec) -> bytes:
    try:
        return Path(spec.origin).read_bytes() if spec.has_location and spec.origin else b""
    except OSError:
        return b""


def _imports(spec: ModuleSpec, content: bytes) -> tuple[str, ...]:
    """All names that a module's source imports; each may be a module or something inside one."""
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    return _names_in(content, package)


@functools.lru_cache(maxsize=256)
def _names_in(content: bytes, package: str) -> tuple[str, ...]:
    """What a source inside a package imports; remembered, because one run asks for the same sources many times."""
    try:
        tree = ast.parse(content)
    # An extension module, or source that importing will complain of.
    except (SyntaxError, ValueError):
        return ()
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(package, node)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")]
    return tuple(names)


def _absolute(package: str, node: ast.ImportFrom) -> str:
    """The absolute name of a relative import."""
    parents = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
    return ".".join([*parents, *filter(None, [node.module])])
