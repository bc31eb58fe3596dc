"""Validates plain data as settings; every mistake becomes one line with its dotted path."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgekd.config.settings import NameAlone, SettingError, Settings
from edgekd.config.words import dotted, shown, suggest
from edgekd.errors import ConfigError

TAGS = {"stage", "name"}
"""Keys by which pydantic chooses the member of a union."""
_KINDS = {"data": "dataset", "loss": "loss", "importance": "importance", "features": "feature term"}
"""Key -> what its value names."""
MOST_MISTAKES = 50
"""Most mistakes that are reported for one file."""
AnySettings = TypeVar("AnySettings", bound=Settings)


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
            # Where the user wrote only a name, there is no key to point at.
            place = place if isinstance(item["input"], NameAlone) else f"{place}.{tags}"
            known = re.findall(r"'([^']+)'", item["ctx"]["expected_tags"])
            problem, remedy = (
                f"unknown {_KINDS.get(str(loc[-1]), tags)} {shown(item['ctx']['tag'])}",
                suggest(item["ctx"]["tag"], known),
            )
        case "union_tag_not_found":
            place, problem = f"{place}.{tags}", "is missing"
        case "value_error":
            error = item["ctx"]["error"]
            problem, place = str(error), f"{place}.{error.key}" if isinstance(error, SettingError) else place
        case "model_type" | "model_attributes_type" | "dict_type":
            problem = f"must be a mapping of keys, found {shown(item['input'])}"
        case _:
            problem += f", found {shown(item['input'])}"
    return ConfigError(place, problem, remedy)


def _followed(kind: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], Any]:
    """A location as the user wrote it, and the type expected there.

    pydantic inserts the chosen member of a union into the location, by its tag or in parentheses.
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
    """The member of a union that a tag chooses; None if ``part`` is not a tag."""
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
    """The description of a key, in parentheses."""
    described = (leaf.model_fields[str(loc[-1])].description for leaf in _leaves(_followed(kind, loc[:-1])[1]))
    return next((f" ({text})" for text in described if text), "")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _leaves(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [leaf for part in get_args(annotation) for leaf in _leaves(part)]
