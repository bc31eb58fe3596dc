"""What keeps a file from being recommended; decided on val, with the exported files' answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from edgekd.config import Settings
from edgekd.report import wording as w
from edgekd.report.schema import Check, Drift, Latency, Paired, Ratio
from edgekd.training.significance import SIGNIFICANT

SAME_SIZE = 0.01
"""Sizes that differ by less, relative to the smaller, count as equal: names and padding vary that much."""
KEEPS_UP = 0.01
"""Largest accuracy below the teacher on val, unless a limit is given; it must not be significant either."""


class Budget(Settings):
    """What the shipped file may cost: of the teacher's, or in itself.

    Only given limits are checked. Without a limit on accuracy a recommended file must keep up with the teacher.
    """

    accuracy_drop: float | None = Field(
        None, ge=-1, le=1, description="teacher's accuracy minus the file's; not given: the file must keep up with it"
    )
    size_ratio: float | None = Field(None, gt=0, description="bytes, of the teacher's")
    latency_ratio: float | None = Field(None, gt=0, description="median latency, of the teacher's")
    size_kb: float | None = Field(None, gt=0, description="bytes, in thousands")
    latency_ms: float | None = Field(
        None, gt=0, description="median latency in milliseconds, of the machine that measures the report"
    )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}


class Candidate(Protocol):
    """What decides whether a file is recommended; of nothing in it the test images are needed."""

    @property
    def id(self) -> str: ...
    @property
    def stage(self) -> str:
        """The kind of stage that made it."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def size_ratio(self) -> float: ...
    @property
    def latency_ms(self) -> Latency: ...
    @property
    def latency_ratio(self) -> Ratio: ...
    @property
    def val_paired(self) -> Paired | None: ...
    @property
    def drift(self) -> Drift | None: ...


@dataclass(frozen=True)
class Shortfall:
    """One thing that keeps a file from being recommended.

    Args:
        words: the figure and its limit.
        excess: how far beyond its limit it is, relative to the limit (accuracy: to one point if that is more).
    """

    words: str
    excess: float


def check(model: Candidate, budget: Budget, drop: float) -> list[Check]:
    """Check a file against each given limit, with the accuracy drop on one of the splits."""
    values = {
        "accuracy_drop": drop,
        "size_ratio": model.size_ratio,
        "latency_ratio": model.latency_ratio.ratio,
        "size_kb": model.size_bytes / 1000,
        "latency_ms": model.latency_ms.p50,
    }
    return [
        Check(name=name, limit=limit, value=values[name], passed=values[name] <= limit)
        for name, limit in budget.limits.items()
    ]


def missed(checks: Sequence[Check]) -> list[Shortfall]:
    """The limits that are not kept."""
    return [
        Shortfall(f"{item.name} {_figure(item.value)} (limit {item.limit:g})", _excess(item))
        for item in checks
        if not item.passed
    ]


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def shortfalls(model: Candidate, budget: Budget, base: Candidate) -> list[Shortfall]:
    """Everything that keeps a file from being recommended."""
    return [*missed(check(model, budget, on_val(model).drop)), *unasked(model, budget, base)]


def worst(short: Sequence[Shortfall]) -> float:
    """How far beyond its limit the worst of them is; 0 where there is none."""
    return max((item.excess for item in short), default=0.0)


def unasked(model: Candidate, budget: Budget, base: Candidate) -> list[Shortfall]:
    """Requirements beyond the limits: a file must keep up with the teacher and be better than it in something."""
    lags = [] if budget.accuracy_drop is not None else _lag(model, base)
    return [*_drifted(model), *lags, *([] if base.stage != "teacher" or model is base else _no_gain(model, base))]


def on_val(model: Candidate) -> Paired:
    """The paired test of a file and the teacher on val."""
    assert model.val_paired is not None, "every file was run on val"
    return model.val_paired


def _drifted(model: Candidate) -> list[Shortfall]:
    if model.drift is None or model.drift.kind == "rounding":
        return []
    return [Shortfall(w.drift(model.drift), math.inf)]


def _lag(model: Candidate, base: Candidate) -> list[Shortfall]:
    found = on_val(model)
    measured = found.drop > 0 and found.p_value < SIGNIFICANT
    if found.drop <= KEEPS_UP and not measured:
        return []
    below = f"{w.points(found.drop).lstrip('+')} points below {base.id} on val ({w.p_value(found.p_value)})"
    # A significant loss below one point exceeds no limit in points; its p-value says by how much it is a loss.
    doubt = (SIGNIFICANT - found.p_value) / SIGNIFICANT if measured else 0.0
    excess = max((found.drop - KEEPS_UP) / KEEPS_UP, doubt)
    return [Shortfall(f"{below}, which budget.accuracy_drop may allow", excess)]


def _no_gain(model: Candidate, base: Candidate) -> list[Shortfall]:
    found = on_val(model)
    smaller = model.size_bytes * (1 + SAME_SIZE) < base.size_bytes
    faster = model.latency_ratio.ci95[1] < 1
    better = found.drop < 0 and found.p_value < SIGNIFICANT
    if smaller or faster or better:
        return []
    least = min(model.size_bytes / base.size_bytes, model.latency_ratio.ratio)
    return [Shortfall(f"neither smaller nor measurably faster nor more accurate than {base.id}", max(least - 1, 0.0))]


def _excess(item: Check) -> float:
    # A limit of 0 cannot divide: the excess then counts in points of accuracy.
    least = 0.01 if item.name == "accuracy_drop" else 0.0
    return (item.value - item.limit) / max(abs(item.limit), least)
