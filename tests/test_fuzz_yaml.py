"""A pipeline file mutated at random gives a pipeline or one line per mistake, never a traceback."""

import copy
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgekd import Pipeline
from edgekd.errors import ConfigError
from tests.chain import YAML

TEXT = textwrap.dedent(YAML)
TREE = yaml.safe_load(TEXT)

ODD_TEXT = [
    ".nan", "-.inf", "1e400", "9" * 4000, "9" * 5000, "0x" + "f" * 5000, "0b_", "1" + ":1" * 4000, "010", "-1", "1e-3",
    "null", "~", "true", "[]", "{}", "[[[[[[[[[[[[[[[[[[[[[[[[[", "? ", "- ", "a" * 3000, "'", '"', "#", "|", ">-", "%",
    '"\\ud800"', '"\\UFFFFFFFF"', '"\\e[31m"', '"\\0"', "\x00", "\x1b[31m", "\x85", "\u202e", "\xad", "é", "\U0001f600",
    "!!set {a}", "!x y", "&a b", "*a", "<<: {name: x}", "=", "---", "...", "2024-01-31",
]  # fmt: skip
ODD_VALUES: list[Any] = [
    float("nan"), float("inf"), 1e308, -1, 0, 10**30, 10**4000, None, True, "", " ", "none", "a" * 3000, "\x1b[31m",
    "\ud800", "two\nlines", "\u2028", "1", [], {}, [[]], [None], {"": None}, {"a": {"b": {"c": []}}}, {"\x07": 1},
    {"stage": "teacher"},
]  # fmt: skip
ODD_KEYS: list[Any] = ["", "id", "source", "<<", "k" * 200, "\x1b", "\ud800", "two\nlines", 1, None, True, 1.5]

quick = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class Edit(NamedTuple):
    """A change at a place; ``at`` and ``length`` wrap around where the text or the tree is smaller."""

    kind: str
    at: int
    length: int
    odd: Any


def text_edits() -> st.SearchStrategy[list[Edit]]:
    kinds = st.sampled_from(["delete", "insert", "replace", "value", "swap lines", "double line"])
    odd = st.one_of(st.sampled_from(ODD_TEXT), st.text(max_size=3))
    return st.lists(st.builds(Edit, kinds, st.integers(0, len(TEXT)), st.integers(0, 20), odd), min_size=1, max_size=4)


def tree_edits() -> st.SearchStrategy[list[Edit]]:
    values = st.builds(
        Edit, st.sampled_from(["replace", "append"]), *[st.integers(0, 99)] * 2, st.sampled_from(ODD_VALUES)
    )
    others = st.builds(
        Edit, st.sampled_from(["delete", "rename"]), *[st.integers(0, 99)] * 2, st.sampled_from(ODD_KEYS)
    )
    return st.lists(st.one_of(values, others), min_size=1, max_size=4)


@settings(quick, max_examples=160)
@given(text_edits())
@example([Edit("value", TEXT.index("threads"), 0, "0x" + "f" * 5000)])
@example([Edit("value", 0, 5, '"\\UFFFFFFFF"')])
@example([Edit("insert", 1, 0, "\xad")])
def test_a_mutated_text_is_a_pipeline_or_one_printable_line_per_mistake(edits: list[Edit]) -> None:
    text = TEXT
    for edit in edits:
        text = edited_text(text, edit)

    assert_printable(told(text))


@settings(quick, max_examples=120)
@given(tree_edits())
@example([Edit("replace", 0, 0, 10**4000)])
@example([Edit("rename", 0, 0, "\x1b")])
def test_a_mutated_tree_is_a_pipeline_or_one_printable_line_per_mistake(edits: list[Edit]) -> None:
    tree = copy.deepcopy(TREE)
    for edit in edits:
        edit_tree(tree, edit)

    assert_printable(told(yaml.dump(tree, Dumper=PlainDumper)))


@settings(quick, max_examples=60)
@given(
    st.text(st.sampled_from("stages.teacherid[]0159-=:{}!&* \n\x1b"), max_size=30),
    st.one_of(st.sampled_from(ODD_TEXT), st.text(max_size=3)),
)
@example("stages." + "9" * 5000, "1")
@example("a" + ".a" * 5000, "1")
@example(".", "5")
def test_a_random_override_gives_a_pipeline_or_one_printable_line_per_mistake(path: str, value: str) -> None:
    assert_printable(told(TEXT, [f"{path}={value}", f"stages.{path}={value}"]))
    assert_printable(told(TEXT, [f"stages.teacher.epochs={value}"]))


def assert_printable(lines: Sequence[str]) -> None:
    assert [line for line in lines if not line or not line.isprintable()] == []


def told(text: str, overrides: Sequence[str] = ()) -> list[str]:
    """What is wrong with a file, line by line; nothing where it is a pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            Pipeline.from_yaml(path, overrides).check()
        except ConfigError as error:
            return error.lines
        return []


def edited_text(text: str, edit: Edit) -> str:
    kind, at, length, odd = edit.kind, edit.at, edit.length, str(edit.odd)
    lines = text.splitlines(keepends=True) or [""]
    first, second = at % len(lines), length % len(lines)
    match kind:
        case "delete":
            return text[:at] + text[at + length :]
        case "insert":
            return text[:at] + odd + text[at:]
        case "replace":
            return text[:at] + odd + text[at + length :]
        case "value":
            at = text.find(": ", at) + 2
            ends = [end for mark in ",}\n" if (end := text.find(mark, at)) >= 0]
            return text[:at] + odd + text[min(ends, default=len(text)) :]
        case "swap lines":
            lines[first], lines[second] = lines[second], lines[first]
        case _:
            lines.insert(second, lines[first])
    return "".join(lines)


def edit_tree(tree: Any, edit: Edit) -> None:
    spots = list(places(tree))
    if not spots:
        return
    parent, key = spots[edit.at % len(spots)]
    match edit.kind:
        case "delete":
            del parent[key]
        case "rename" if isinstance(parent, dict):
            parent[edit.odd] = parent.pop(key)
        case "append" if isinstance(parent, list):
            parent.insert(edit.length % (len(parent) + 1), copy.deepcopy(edit.odd))
        case _:
            parent[key] = copy.deepcopy(edit.odd)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: its parent and its key or index."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [place for key in keys for place in [(tree, key), *places(tree[key])]]


class PlainDumper(yaml.SafeDumper):
    """Writes no anchors, which would hide everything else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
