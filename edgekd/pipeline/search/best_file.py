"""``best.yaml``: the pipeline file of the best trial, to keep and to run."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgekd.config import parse_yaml
from edgekd.pipeline.search.space import value_of, with_values
from edgekd.report import wording as w
from edgekd.report.search.schema import BEST, Front
from edgekd.report.search.wording import figures_words, value_words


def best_yaml(tree: Mapping[str, Any], front: Front) -> str:
    """The file as text: the pipeline file with the best trial's values, and what it reached as comments.

    Args:
        tree: the pipeline file.
        front: what the search found.
    """
    best = front.tried(front.best)
    kept = {**with_values(tree, best.values), "name": f"{front.pipeline}-best"}
    lines = [*(f"# {w.plain(line)}" for line in _comments(tree, front)), *_body(kept)]
    return "".join(f"{line}\n" for line in lines)


def _comments(tree: Mapping[str, Any], front: Front) -> Iterator[str]:
    best, standing = front.tried(front.best), front.best_standing
    yield f"The best of {len(front.trials)} trials of {front.file} (trial {best.number}):"
    yield f"{figures_words(standing.contender)}, {w.percent(standing.on_test.accuracy)} on test."
    yield f"  edgekd pipeline run {BEST}"
    yield f"Other than in {front.file}:"
    for key, value in best.values.items():
        before = value_of(key, tree)
        if value != before:
            was = "" if before is None else f" (was {value_words(before)})"
            yield f"  {key}: {value_words(value)}{was}"


def _body(tree: Mapping[str, Any]) -> Iterator[str]:
    for key in ("name", *(key for key in tree if key != "name")):
        if key == "stages":
            yield "stages:"
            yield from (f"  - {_flow(stage)}" for stage in tree[key])
        else:
            yield f"{_flow(key)}: {_flow(tree[key])}"


def _flow(value: Any) -> str:
    """A value on one line of YAML.

    >>> _flow({"loss": {"name": "dkd", "others_weight": 4.0}, "bits": None, "id": "1e3"})
    '{loss: {name: dkd, others_weight: 4.0}, bits: null, id: "1e3"}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][\w./-]*", value) and parse_yaml(value, "") == value:
        return value
    return json.dumps(value, ensure_ascii=False)
