"""Reads a pipeline file as plain data: YAML without the surprising conversions of YAML 1.1."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from edgekd.config.words import kind_of, shown
from edgekd.errors import ConfigError
from edgekd.store.disk import reading

# PyYAML's loader is slow: a megabyte of hostile YAML took it minutes.
MAX_YAML_BYTES = 100_000
MAX_YAML_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """Plain data only: 1e-3 is a number, a duplicate key is an error, dates stay text.

    Numbers are decimal: YAML 1.1 would read 010 as 8 and 1:30 as 90. ``<<`` is an ordinary key, not a merge.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # SafeLoader silently keeps the last of two equal keys.
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be a plain word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {shown(key.value)} is used twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # Python refuses to convert integers of more than 4300 digits.
        except ValueError:
            raise yaml.MarkedYAMLError(problem="the number has too many digits", problem_mark=node.start_mark) from None


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Of YAML 1.1's implicit types only booleans and null are kept: dates stay text and ``<<`` is an ordinary key. A new
# table, because SafeLoader's own is shared with everybody who uses PyYAML.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _number in (("int", _INT), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_number.pattern})$"), list("-+0123456789.")
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping.

    Raises:
        ConfigError: the file is missing or unreadable, is not YAML (with line and column), carries tags, anchors or
            duplicate keys, or is not a mapping.
    """
    with reading(path, ConfigError, "check the path and its permissions"), path.open("rb") as file:
        raw = file.read(MAX_YAML_BYTES + 1)
    if len(raw) > MAX_YAML_BYTES:
        raise ConfigError(str(path), f"is larger than {MAX_YAML_BYTES} bytes", "a pipeline file is a page or two")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    found = parse_yaml(text, str(path))
    if not isinstance(found, dict):
        raise ConfigError(str(path), f"must be a mapping of keys, found {kind_of(found)}", "begin with 'name:'")
    return found


def parse_yaml(text: str, where: str) -> Any:
    """One YAML document as plain data; ``where`` names it in errors."""
    try:
        _refuse_beyond_plain_data(text, where)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(place, f"not valid YAML: {error.problem or error.context}", "fix the line") from None
    except ReaderError as error:
        place = f"{where}:{_line_and_column(text, error.position)}"
        raise ConfigError(place, f"not valid YAML: found the character U+{error.character:04X}", "remove it") from None
    # PyYAML 6.0.4 passes the digits of a \U escape to chr(), which raises these.
    except (ValueError, OverflowError):
        raise ConfigError(where, "not valid YAML: a \\U escape that is not a character", "fix the escape") from None


def _line_and_column(text: str, position: int) -> str:
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def _refuse_beyond_plain_data(text: str, where: str) -> None:
    """Refuse tags, anchors, deep nesting and a second document, before anything is built."""
    depth = documents = 0
    # Checked on the event stream: once built, aliases of aliases fill the memory ("billion laughs"), and deep nesting
    # exceeds the recursion limit while composing.
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark, tag = event.start_mark, getattr(event, "tag", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        if tag is not None:
            raise ConfigError(place, f"YAML tags are not allowed, found {tag!r}", "write the plain value")
        if getattr(event, "anchor", None) is not None:
            raise ConfigError(place, "YAML anchors and aliases are not allowed", "write the value where it is used")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > MAX_YAML_DEPTH:
            raise ConfigError(place, f"nested more than {MAX_YAML_DEPTH} deep", "a pipeline file nests 3 deep")
        if documents > 1:
            raise ConfigError(place, "a second document begins", "keep one pipeline per file")
