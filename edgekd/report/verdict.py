"""Which file is recommended, and whether it keeps the budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from edgekd.config import Settings
from edgekd.report.schema import Check, ModelReport, Verdict
from edgekd.report.wording import NO_DIFFERENCE

SAME_SIZE = 0.01
"""Files whose bytes differ by less, in parts of the smaller, are alike: so much do names and padding vary."""

Faster = Callable[[str, str], tuple[float, tuple[float, float]]]
"""Takes two files' ids: the first one's latency divided by the second one's, with its interval."""


class Budget(Settings):
    """What the shipped file may cost, compared with the teacher's; a limit that is not given is not checked."""

    accuracy_drop: float | None = Field(None, ge=-1, le=1, description="teacher's accuracy minus the file's")
    size_ratio: float | None = Field(None, gt=0, description="bytes, of the teacher's")
    latency_ratio: float | None = Field(None, gt=0, description="median latency, of the teacher's")


@dataclass(frozen=True)
class Choice:
    """The recommended file (the nearest miss where none keeps the budget) and the verdict on it."""

    recommended: str
    verdict: Verdict


def choose(models: Sequence[ModelReport], budget: Budget, ratio: Faster) -> Choice:
    """The fastest file that keeps the whole budget; of those as fast the smaller, of those the better on val.

    ``test`` decides nothing but the budget: the best of several on ``test`` would look better than it is.

    Args:
        models: every measured file.
        budget: the limits.
        ratio: paired latency ratio of two files.
    """
    checks = {model.id: check(model, budget) for model in models}
    fitting = [model for model in models if all(item.passed for item in checks[model.id])]
    if not fitting:
        nearest = min(models, key=lambda model: _worst_excess(checks[model.id]))
        return Choice(
            nearest.id, Verdict(passed=False, checks=checks[nearest.id], reason=_miss(checks[nearest.id], len(models)))
        )
    fastest = min(fitting, key=lambda model: model.latency_ms.p50)
    alike = [model for model in fitting if model is fastest or _covers_one(ratio(model.id, fastest.id))]
    smallest = min(model.size_bytes for model in alike)
    peers = [model for model in alike if model.size_bytes <= smallest * (1 + SAME_SIZE)]
    chosen = max(peers, key=lambda model: (model.val_accuracy or 0.0, -model.size_bytes))
    reason = _reason(len(fitting), alike, peers, chosen)
    return Choice(chosen.id, Verdict(passed=True, checks=checks[chosen.id], reason=reason))


def check(model: ModelReport, budget: Budget) -> list[Check]:
    """The file's figures against each limit that is given."""
    limits = {name: limit for name, limit in budget.model_dump().items() if limit is not None}
    values = {
        "accuracy_drop": model.accuracy_drop,
        "size_ratio": model.size_ratio,
        "latency_ratio": model.latency_ratio.ratio,
    }
    return [
        Check(name=name, limit=limit, value=values[name], passed=values[name] <= limit)
        for name, limit in limits.items()
    ]


def _covers_one(measured: tuple[float, tuple[float, float]]) -> bool:
    return measured[1][0] <= 1.0 <= measured[1][1]


def _excess(item: Check) -> float:
    """How far beyond its limit a figure is, in parts of the limit (of one point, where the limit is smaller)."""
    return (item.value - item.limit) / max(abs(item.limit), 0.01)


def _worst_excess(checks: Sequence[Check]) -> float:
    return max((_excess(item) for item in checks), default=0.0)


def _miss(checks: Sequence[Check], files: int) -> str:
    worst = max(checks, key=_excess)
    found = f"{worst.name} {worst.value:.4f} (limit {worst.limit:g})"
    return f"None of {files} files keeps the whole budget; this one misses it by {found}."


def _reason(fitting: int, alike: Sequence[ModelReport], peers: Sequence[ModelReport], chosen: ModelReport) -> str:
    if fitting == 1:
        return "It is the only file that keeps the whole budget."
    of = f"of the {fitting} files that keep the whole budget"
    if len(alike) == 1:
        return f"It is the fastest {of}."
    if len(peers) == 1:
        return f"It is the smallest {of} among the fastest ({NO_DIFFERENCE} in latency to {_others(alike, chosen)})."
    return (
        f"Among the fastest and smallest {of} none is more accurate on val "
        f"({NO_DIFFERENCE} in latency to {_others(peers, chosen)}, sizes within {SAME_SIZE * 100:.0f} %)."
    )


def _others(models: Sequence[ModelReport], chosen: ModelReport) -> str:
    return ", ".join(model.id for model in models if model is not chosen)
