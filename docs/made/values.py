"""What a key takes, in words, from its JSON schema."""

import json
from collections.abc import Iterator
from typing import Any

KINDS = {
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "`true` or `false`",
    "array": "list",
    "object": "mapping",
}
BOUNDS = {
    "exclusiveMinimum": "above {}",
    "minimum": "at least {}",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
}


def takes(about: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The values that a schema allows; null is left out, since it is a key that is not given.

    >>> takes({"type": "number", "exclusiveMinimum": 0, "maximum": 8}, {})
    'number, above 0, at most 8'
    """
    *most, last = dict.fromkeys(_each(about, definitions))
    return f"{', '.join(most)} or {last}" if most else last


def shown(value: Any) -> str:
    """A value as a file has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _each(about: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    if "$ref" in about:
        yield from _each(definitions[about["$ref"].rpartition("/")[2]], definitions)
    elif options := about.get("anyOf") or about.get("oneOf"):
        for option in options:
            yield from _each(option, definitions)
    elif "const" in about or "enum" in about:
        yield from (f"`{shown(value)}`" for value in about.get("enum", [about.get("const")]))
    elif "properties" in about:
        if "const" in about["properties"].get("name", {}):
            return  # one of several that are chosen by name, and the name alone is among the options
        yield "{" + ", ".join(f"`{key}: ...`" for key in about["properties"]) + "}"
    elif about.get("type") != "null":
        yield ", ".join([_kind(about, definitions), *_bounds(about)])


def _kind(about: dict[str, Any], definitions: dict[str, Any]) -> str:
    kind = KINDS[about["type"]] if "type" in about else "any value"
    if about.get("items"):
        return f"list, each {takes(about['items'], definitions)}"
    if isinstance(about.get("additionalProperties"), dict):
        return f"mapping, each value {takes(about['additionalProperties'], definitions)}"
    return kind


def _bounds(about: dict[str, Any]) -> Iterator[str]:
    yield from (text.format(f"{about[bound]:,}") for bound, text in BOUNDS.items() if bound in about)
