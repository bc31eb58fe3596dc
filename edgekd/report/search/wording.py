"""The words of a search, shared by terminal, page and the file of the best trial."""

import json
from collections.abc import Mapping
from typing import Any

from edgekd.report import wording as w
from edgekd.report.search.schema import AgainstFile, Contender, Tried
from edgekd.training.significance import SIGNIFICANT


def value_words(value: Any) -> str:
    """A value as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def values_words(values: Mapping[str, Any]) -> str:
    """Settings and their values on one line.

    >>> values_words({"prune.pruning_ratio": 0.5, "qat.weight_bits": None})
    'prune.pruning_ratio 0.5, qat.weight_bits null'
    """
    return ", ".join(f"{key} {value_words(value)}" for key, value in values.items())


def figures_words(found: Contender) -> str:
    """What a file costs and how right it is on val."""
    return (
        f"{w.percent(found.accuracy)} on val, {w.ratio(found.latency_ratio.ratio)} of the teacher's latency, "
        f"{w.kilobytes(found.size_bytes)} kB"
    )


def contender_words(tried: Tried) -> str:
    """What became of a trial, in a line."""
    took = f"took {w.seconds(tried.seconds)}"
    if tried.contender is None:
        return f"{tried.outcome}: {tried.detail}; {took}"
    kept = "fits" if not tried.contender.misses else f"misses {w.listed(tried.contender.misses)}"
    return f"{figures_words(tried.contender)}; {kept}; {took}"


def against_file_words(found: AgainstFile) -> list[str]:
    """What the best trial's file is beside that of the file's own values (trial ``found.trial``), a sentence each."""
    accuracy = f"{w.points(found.accuracy_difference)} points, {w.p_value(found.p_value)}"
    differs = "" if found.p_value < SIGNIFICANT else f": {w.NO_DIFFERENCE}"
    latency = "" if found.latency_ratio.measured else f": {w.NO_DIFFERENCE}"
    interval = w.points_interval(found.accuracy_ci95)
    return [
        f"Accuracy on test: {accuracy}, 95 % interval {interval}{differs}.",
        f"Bytes: {w.ratio(found.size_ratio)} of its bytes.",
        f"Latency: {w.ratio_with_interval(found.latency_ratio)} of its latency{latency}.",
    ]


def space_words(given: Mapping[str, Any]) -> str:
    """What was allowed for a setting.

    >>> space_words({"low": 0.1, "high": 0.4, "log": True}), space_words({"any": ["kd", None]})
    ('0.1 to 0.4, every factor as often', 'kd, null')
    """
    if "any" in given:
        return ", ".join(map(value_words, given["any"]))
    return f"{given['low']:g} to {given['high']:g}{', every factor as often' if given['log'] else ''}"
