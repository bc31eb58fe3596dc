"""The one file that goes along: what it is made of."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

from edgekd import ondevice
from edgekd.bundle.runner import PARTS, runner_source

FOLDER = Path(ondevice.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def defined(tree: ast.Module) -> list[str]:
    """Every name that a file gives at its top."""
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    leaves = [leaf for target in targets for leaf in ast.walk(target)]
    return names + [leaf.id for leaf in leaves if isinstance(leaf, ast.Name)]


def test_it_holds_every_file_of_the_package() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(PARTS)


def test_it_needs_numpy_onnxruntime_and_pillow_alone_and_nothing_but_numpy_at_its_top() -> None:
    tree = ast.parse(runner_source())

    outside = {name.partition(".")[0] for name in imported(tree)} - sys.stdlib_module_names
    at_top = imported(ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []))

    assert outside == {"numpy", "onnxruntime", "PIL"}
    assert {name.partition(".")[0] for name in at_top} - sys.stdlib_module_names == {"numpy"}


def test_no_name_is_given_twice_for_the_later_would_take_the_earlier_s_place() -> None:
    counts = Counter(defined(ast.parse(runner_source())))

    assert [name for name, count in counts.items() if count > 1] == []
    assert counts["main"] == counts["Fault"] == 1


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_every_part_is_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_parts_stand_behind_what_they_import() -> None:
    for place, part in enumerate(PARTS):
        needed = imported(ast.parse((FOLDER / f"{part}.py").read_text(encoding="utf-8")))
        own = {name.rpartition(".")[2] for name in needed if name.startswith("edgekd.ondevice.")}
        assert own <= set(PARTS[:place])
