"""``--set``: values that override those of a pipeline file."""

import re
from collections.abc import Iterable
from typing import Any

from edgekd.config.words import cut, kind_of, shown
from edgekd.config.yaml_file import MAX_YAML_DEPTH, parse_yaml
from edgekd.errors import ConfigError


def with_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """``tree`` with each ``key.path=value`` put in; list items go by index or by a stage's id.

    >>> with_overrides({"stages": [{"stage": "qat", "epochs": 4}]}, ["stages.qat.epochs=2"])
    {'stages': [{'stage': 'qat', 'epochs': 2}]}
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = [key for key in re.split(r"[.\[\]]+", path.strip()) if key]
        if not equals or not keys:
            raise ConfigError(f"--set {cut(override)}", "is not key.path=value", "write e.g. --set seed=1")
        where = f"--set {cut(path.strip())}"
        # ``_put`` and pydantic recurse once for each key.
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
        raise ConfigError(where, f"{shown(key)} does not exist: its parent is {kind_of(tree)}", "check the key path")
    return {**tree, key: _put(tree.get(key), rest, value, where)}


def _item(items: list[Any], key: str, where: str) -> int:
    names = [item.get("id") or item.get("stage") if isinstance(item, dict) else None for item in items]
    indices = [str(index) for index in range(len(items))]
    for known in (names, indices):
        if key in known:
            return known.index(key)
    words = [*(name for name in names if isinstance(name, str)), *indices]
    remedy = f"known: {', '.join(words)}" if words else "the list is empty"
    raise ConfigError(where, f"{shown(key)} does not exist", remedy)
