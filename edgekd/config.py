"""Settings, YAML reading, --set overrides; every mistake becomes one line with its dotted place."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from yaml.reader import ReaderError

from edgekd.errors import ConfigError

MAX_YAML_BYTES = 100_000
MAX_YAML_DEPTH = 20
TAGS = {"stage", "name"}
"""Keys that choose the member of a union."""
_KINDS = {"data": "dataset", "loss": "loss"}
"""What is chosen by its name under a key."""
MOST_MISTAKES = 50
"""So many of one file are told."""
MAX_PATH_BYTES, MAX_NAME_BYTES = 4095, 255


class Settings(BaseModel):
    """Frozen settings: an unknown key, a wrong type or a value out of range is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SettingError(ValueError):
    """Raised by a check over several settings: ``key`` is the one to change."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


AnySettings = TypeVar("AnySettings", bound=Settings)


def _path(text: str) -> str:
    try:
        raw = os.fsencode(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("begins with the home folder of an unknown user; write the whole path") from None
    except UnicodeEncodeError:
        raise ValueError("holds a character that no path has; remove it") from None
    if b"\0" in raw:
        raise ValueError("holds the character U+0000, which no path has; remove it")
    if len(raw) > MAX_PATH_BYTES or max(map(len, raw.split(b"/"))) > MAX_NAME_BYTES:
        raise ValueError(f"is too long for a path ({len(raw)} bytes); write a shorter one")
    return text


PathText = Annotated[str, AfterValidator(_path)]
"""A path that a file system takes; whether anything lies there is another question."""


class _Loader(yaml.SafeLoader):
    """YAML's plain data only: 1e-3 is a number, a key used twice is an error, dates stay text.

    Numbers are decimal: YAML 1.1 reads 010 as 8 and 1:30 as 90, which nobody means; ``<<`` is no merge but a key.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be a plain word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {_shown(key.value)} is used twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError:
            raise yaml.MarkedYAMLError(problem="the number has too many digits", problem_mark=node.start_mark) from None


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
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
            duplicate keys, or is no mapping.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_YAML_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read ({_reason(error)})", "check the path and its permissions"
        ) from None
    if len(raw) > MAX_YAML_BYTES:
        raise ConfigError(str(path), f"is larger than {MAX_YAML_BYTES} bytes", "a pipeline file is a page or two")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    found = parse_yaml(text, str(path))
    if not isinstance(found, dict):
        raise ConfigError(str(path), f"must be a mapping of keys, found {_kind(found)}", "begin with 'name:'")
    return found


def parse_yaml(text: str, where: str) -> Any:
    """One YAML document as plain data; ``where`` names it in errors."""
    try:
        _refuse_beyond_plain_data(text, where)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(place, f"not valid YAML: {error.problem or error.context}", "mend the line") from None
    except ReaderError as error:
        place = f"{where}:{_line_and_column(text, error.position)}"
        raise ConfigError(place, f"not valid YAML: found the character U+{error.character:04X}", "remove it") from None
    except (ValueError, OverflowError):
        raise ConfigError(where, "not valid YAML: a \\U escape that is no character", "mend the escape") from None


def _line_and_column(text: str, position: int) -> str:
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def _refuse_beyond_plain_data(text: str, where: str) -> None:
    """Stop before anything is built: tags, anchors, deep nesting, a second document."""
    depth = documents = 0
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


def with_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """``tree`` with each ``key.path=value`` put in; list items go by index or by a stage's id.

    >>> with_overrides({"stages": [{"stage": "qat", "epochs": 4}]}, ["stages.qat.epochs=2"])
    {'stages': [{'stage': 'qat', 'epochs': 2}]}
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = [key for key in re.split(r"[.\[\]]+", path.strip()) if key]
        if not equals or not keys:
            raise ConfigError(f"--set {_cut(override)}", "is not key.path=value", "write e.g. --set seed=1")
        where = f"--set {_cut(path.strip())}"
        if len(keys) > MAX_YAML_DEPTH:
            raise ConfigError(where, f"is more than {MAX_YAML_DEPTH} keys deep", "a pipeline file nests 3 deep")
        tree = _put(tree, keys, parse_yaml(text, where), where)
    return tree


def _put(tree: Any, keys: list[str], value: Any, where: str) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(tree, list):
        index = _item(tree, key, where)
        return [_put(item, rest, value, where) if i == index else item for i, item in enumerate(tree)]
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(where, f"{_shown(key)} does not exist: its parent is {_kind(tree)}", "check the key path")
    return {**tree, key: _put(tree.get(key), rest, value, where)}


def _item(items: list[Any], key: str, where: str) -> int:
    names = [item.get("id") or item.get("stage") if isinstance(item, dict) else None for item in items]
    indices = [str(index) for index in range(len(items))]
    for known in (names, indices):
        if key in known:
            return known.index(key)
    words = [*(name for name in names if isinstance(name, str)), *indices]
    remedy = f"known: {', '.join(words)}" if words else "the list is empty"
    raise ConfigError(where, f"{_shown(key)} does not exist", remedy)


def validate(kind: type[AnySettings], tree: Mapping[str, Any], where: str) -> AnySettings:
    """``tree`` as settings.

    Args:
        kind: the settings' class.
        tree: plain data.
        where: names the source in errors.

    Raises:
        ConfigError: with one line per mistake, up to ``MOST_MISTAKES``.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False)
        mistakes = [_mistake(item, kind, where) for item in found[:MOST_MISTAKES]]
        if len(found) > MOST_MISTAKES:
            mistakes.append(ConfigError(where, f"{len(found) - MOST_MISTAKES} more mistakes", "is it a pipeline file?"))
        first = mistakes[0]
        raise ConfigError(first.where, first.problem, first.remedy, tuple(mistakes[1:])) from None


def _mistake(item: Mapping[str, Any], kind: type[BaseModel], where: str) -> ConfigError:
    tags = item.get("ctx", {}).get("discriminator", "'stage'").strip("'")
    loc, _ = _followed(kind, item["loc"])
    place = f"{where}: {dotted(loc)}" if loc else where
    problem, remedy = item["msg"][0].lower() + item["msg"][1:], ""
    match item["type"]:
        case "extra_forbidden":
            problem, remedy = "unknown key", suggest(str(loc[-1]), _keys_at(kind, item["loc"][:-1]))
        case "missing":
            problem = f"is missing{_meant(kind, item['loc'])}"
        case "union_tag_invalid":
            place, known = f"{place}.{tags}", re.findall(r"'([^']+)'", item["ctx"]["expected_tags"])
            problem, remedy = (
                f"unknown {_KINDS.get(str(loc[-1]), tags)} {_shown(item['ctx']['tag'])}",
                suggest(item["ctx"]["tag"], known),
            )
        case "union_tag_not_found":
            place, problem = f"{place}.{tags}", "is missing"
        case "value_error":
            error = item["ctx"]["error"]
            problem, place = str(error), f"{place}.{error.key}" if isinstance(error, SettingError) else place
        case "model_type" | "model_attributes_type" | "dict_type":
            problem = f"must be a mapping of keys, found {_shown(item['input'])}"
        case _:
            problem += f", found {_shown(item['input'])}"
    return ConfigError(place, problem, remedy)


def _followed(kind: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], Any]:
    """A place as the user wrote it, and the type that is expected there.

    Between a place and its parts pydantic names the union's member that was chosen, by its tag or in parentheses.
    """
    written: list[int | str] = []
    expected: Any = kind
    for part in loc:
        member = None if _is_model(expected) else _member(expected, part)
        if member is not None:
            expected = member
            continue
        written.append(part)
        if _is_model(expected) and part in expected.model_fields:
            expected = expected.model_fields[part].annotation
    return tuple(written), expected


def _member(union: Any, part: int | str) -> Any:
    """The member of a union that is chosen by a tag; None where it is none."""
    if isinstance(part, str) and part.startswith("("):
        return union
    tags = (
        (leaf, leaf.model_fields[key].default)
        for leaf in _leaves(union)
        for key in TAGS.intersection(leaf.model_fields)
    )
    return next((leaf for leaf, tag in tags if tag == part), None)


def _keys_at(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    return sorted({name for leaf in _leaves(_followed(kind, loc)[1]) for name in leaf.model_fields})


def _meant(kind: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What a key is for, in parentheses."""
    described = (leaf.model_fields[str(loc[-1])].description for leaf in _leaves(_followed(kind, loc[:-1])[1]))
    return next((f" ({text})" for text in described if text), "")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _leaves(annotation: Any) -> list[type[BaseModel]]:
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [leaf for part in get_args(annotation) for leaf in _leaves(part)]


def suggest(word: str, known: list[str]) -> str:
    """The known word that is nearest, and all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"


def dotted(loc: Iterable[int | str]) -> str:
    """A place in a tree as people write it.

    >>> dotted(("stages", 2, "temperature"))
    'stages[2].temperature'
    """
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" if text else _cut(part)
    return text


def _shown(value: Any) -> str:
    return "nothing" if value is None else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true/false"}
    return names.get(type(value), "a number")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
