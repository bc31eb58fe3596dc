"""Concatenates ``edgekd/ondevice`` into a bundle's ``edgekd_run.py``."""

import ast
from collections.abc import Iterator, Sequence
from importlib import resources

RUNNER = "edgekd_run.py"
PARTS = (
    "faults",
    "limits",
    "sizes",
    "sessions",
    "machine",
    "pixels",
    "rounds",
    "child",
    "latency",
    "fields",
    "contents",
    "arrays",
    "selftest",
    "classify",
    "bench",
    "program",
)
"""In the order of their imports."""


def runner_source() -> str:
    """The parts as one Python file."""
    here = resources.files("edgekd.ondevice")
    sources = [here.joinpath(f"{name}.py").read_text(encoding="utf-8") for name in PARTS]
    imports = _import_lines([pair for source in sources for pair in _imports(source)])
    bodies = [_body_of(source).strip("\n") for source in sources]
    head = (
        "#!/usr/bin/env python3\n"
        '"""Classifies images, tests this bundle, measures its latency: python3 edgekd_run.py --help\n\n'
        "Needs Python 3.9, numpy and onnxruntime; Pillow for image files. Written by edgekd.\n"
        '"""\n\n'
    )
    return head + "\n".join(imports) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _imports(source: str) -> Iterator[tuple[str, str]]:
    """What a file imports at its top from elsewhere: a module and a name in it, or an import as it stands and ''."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield ast.unparse(node), ""
        if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("edgekd"):
            yield from ((str(node.module), alias.name) for alias in node.names)


def _import_lines(found: Sequence[tuple[str, str]]) -> list[str]:
    whole = sorted({module for module, name in found if not name})
    modules = sorted({module for module, name in found if name})
    names = {module: sorted({name for other, name in found if other == module}) for module in modules}
    return [*whole, *(f"from {module} import {', '.join(names[module])}" for module in modules)]


def _body_of(source: str) -> str:
    """A file without its docstring and its imports."""
    lines = source.splitlines()
    nodes = ast.parse(source).body
    dropped = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)] + nodes[:1]
    for node in dropped:
        assert node.end_lineno is not None
        # Blanked, not removed: the nodes that follow keep their line numbers.
        lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)
