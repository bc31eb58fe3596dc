"""The words of a comparison, shared by terminal and page."""

import json
import string

from edgekd.report import wording as w
from edgekd.report.compare.comparable import Conditions
from edgekd.report.compare.comparison import Comparison, Pair, PlaceLatency, RunFacts

LONGEST_VALUE = 60
SAME_SETTINGS = "The settings are the same in all runs."


def group_words(comparison: Comparison, place: str, latency: PlaceLatency) -> str:
    """The letter of a group of runs measured alike; empty if there is only one group."""
    groups = {run.latencies[place].group for run in comparison.runs if place in run.latencies}
    return "" if len(groups) == 1 else f"group {letter(latency.group)}"


def letter(number: int) -> str:
    """A group's name.

    >>> letter(0), letter(26)
    ('A', '27')
    """
    return string.ascii_uppercase[number] if number < len(string.ascii_uppercase) else str(number + 1)


def outcome_words(run: RunFacts) -> str:
    """The verdict on a run's file, unless it is a pass.

    Without a budget there may still be a failure: only the teacher was left to recommend.
    """
    return {"pass": "", "fail": "FAIL", "no budget": "no budget"}[run.outcome]


def images_words(run: RunFacts) -> str:
    return f"{w.images_at(run.dataset, run.image_size)}, {run.total:,} test images"


def conditions_words(conditions: Conditions) -> str:
    threads = "1 thread" if conditions.threads == 1 else f"{conditions.threads} threads"
    return f"{conditions.cpu}, {threads}, batch {conditions.batch}, ONNX Runtime {conditions.onnxruntime}"


def front_words(latency: PlaceLatency) -> str:
    """A run's rank among the comparable runs in a place."""
    if latency.on_front is None:
        return "not compared"
    return "on the front" if latency.on_front else f"behind {', '.join(latency.behind)}"


def more_accurate_words(pair: Pair) -> str:
    """Which of two runs is measurably more accurate."""
    if pair.p_value is None:
        return "not tested"
    if not pair.measured:
        return w.NO_DIFFERENCE
    return pair.first if pair.accuracy_difference > 0 else pair.second


def setting_words(values: dict[str, object], run: str) -> str:
    """A run's value as in YAML; a dash if it has no such setting."""
    if run not in values:
        return "–"
    value = values[run]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
