"""Widths for a latency or a size: what layers cost is measured, then channels go where they matter least for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.errors import PruningError
from edgekd.pruning.cost_model import LayerCosts, Layers, fitted
from edgekd.pruning.greedy import cheapest_path
from edgekd.pruning.group import Group
from edgekd.stages.costs import Files, files_of
from edgekd.zoo import ModelSpec

PLANS = 48
"""Widths drawn at random whose latency is measured to know what each layer costs."""
AIM, NEAR_ENOUGH, TRIES = 0.985, 0.025, 6
"""Aimed at a little below the limit: so close, in so many measurements."""
PROCESSES, CHECKS = 3, 10
"""Processes in which plans are measured to learn from, and chosen ones: as many as a report takes."""


@dataclass(frozen=True)
class Limit:
    """What the integer file may cost.

    Args:
        key: ``latency_ms``, ``latency_ratio`` (of the float file of the whole network) or ``size_kb``.
        value: of it.
    """

    key: str
    value: float

    @property
    def is_size(self) -> bool:
        return self.key == "size_kb"


@dataclass(frozen=True)
class Chosen:
    """Widths, and what they cost, in the unit of the limit."""

    keep: list[int]
    cost: float


class Measuring(Protocol):
    """Says what plans of widths cost."""

    def of(self, plans: Sequence[Sequence[int]], seed: int = 0) -> list[float]: ...


class _Costs:
    """Costs of a network's widths in the unit of a limit."""

    def __init__(self, files: Files, limit: Limit) -> None:
        self._files, self._limit = files, limit

    def of(self, plans: Sequence[Sequence[int]], seed: int = 0) -> list[float]:
        if self._limit.is_size:
            return [self._files.size_bytes(plan) / 1000 for plan in plans]
        return self._timed(plans, seed, PROCESSES)

    def surely(self, *plans: Sequence[int]) -> list[float]:
        """Of some plans, as well as a report measures."""
        return self.of(plans) if self._limit.is_size else self._timed(plans, 1, CHECKS)

    def _timed(self, plans: Sequence[Sequence[int]], seed: int, processes: int) -> list[float]:
        if self._limit.key == "latency_ratio":
            return self._files.ratios(plans, seed, processes)
        return self._files.latency_ms(plans, seed, processes)


def check_reachable(
    model: nn.Module, spec: ModelSpec, groups: Sequence[Group], limit: Limit, max_ratio: float, target: Target
) -> None:
    """Raise PruningError, before anything is trained, where no widths keep a limit, or where the whole network does."""
    with files_of(model, spec, groups, target) as files:
        _check(files, limit, max_ratio, target)


def _check(files: Files, limit: Limit, max_ratio: float, target: Target) -> None:
    costs = _Costs(files, limit)
    free = lambda keep: -float(sum(keep))  # noqa: E731  (any path ends at the narrowest widths)
    narrowest = cheapest_path(files.groups, free, max_ratio, target.resolved_isa)[-1]
    whole = [group.channels for group in files.groups]
    least, most = costs.surely(narrowest, whole)
    where = "the file" if limit.is_size else "this CPU"
    if least > limit.value:
        found = f"{limit.value:g} cannot be reached: {least:.3g} is the least at max_pruning_ratio {max_ratio:g}"
        remedy = "raise the limit or max_pruning_ratio, or take a smaller teacher or smaller images"
        raise PruningError(limit.key, f"{found} ({where})", remedy)
    if most <= limit.value:
        found = (
            f"nothing is to be removed: the whole network has {most:.3g} as integers, and {limit.value:g} is allowed"
        )
        raise PruningError(limit.key, found, "lower the limit, or leave the prune stage out")


def widths_within(
    model: nn.Module,
    spec: ModelSpec,
    groups: Sequence[Group],
    limit: Limit,
    max_ratio: float,
    target: Target,
    progress: Progress,
) -> Chosen:
    """The widths within a limit that cost least importance.

    Args:
        model: a float network.
        spec: how it was built.
        groups: of its channels, with their importance.
        limit: what its integer file may cost.
        max_ratio: largest share of its channels that a group may lose.
        target: which integers, threads and batch.
        progress: informed about the measurements.

    Raises:
        PruningError: no widths keep the limit, or the whole network does.
    """
    with files_of(model, spec, groups, target) as files:
        _check(files, limit, max_ratio, target)
        costs = _Costs(files, limit)
        model_of_costs = _sizes(files, costs) if limit.is_size else _measured(files, costs, max_ratio, target, progress)
        path = cheapest_path(groups, model_of_costs, max_ratio, target.resolved_isa)
        return _nearest(path, model_of_costs, lambda keep: costs.surely(keep)[0], limit.value, progress)


def layers_of(files: Files) -> Layers:
    """How the widths of layers follow those of groups: each group is halved once."""
    whole = [group.channels for group in files.groups]
    nodes = files.of(whole)[1]
    inputs, outputs = (np.array([getattr(node, key) for node in nodes], float) for key in ("inputs", "outputs"))
    of_inputs, of_outputs = np.zeros((len(nodes), len(whole))), np.zeros((len(nodes), len(whole)))
    for number, group in enumerate(files.groups):
        if group.kept_because or group.channels < 2:
            continue
        half = [*whole[:number], group.channels // 2, *whole[number + 1 :]]
        gone, found = group.channels - group.channels // 2, files.of(half)[1]
        of_inputs[:, number] = (inputs - [node.inputs for node in found]) / gone
        of_outputs[:, number] = (outputs - [node.outputs for node in found]) / gone
    weights, places = (np.array([getattr(node, key) for node in nodes], float) for key in ("weights", "places"))
    return Layers(inputs, outputs, of_inputs, of_outputs, np.array(whole), weights * places, places)


def _sizes(files: Files, costs: _Costs) -> LayerCosts:
    layers = layers_of(files)
    each = layers.work / layers.places / 1000
    whole = costs.of([layers.whole.tolist()])[0]
    return LayerCosts(layers, each, 0.0, whole - float(each.sum()))


def _measured(files: Files, costs: Measuring, max_ratio: float, target: Target, progress: Progress) -> LayerCosts:
    layers, order = layers_of(files), np.random.default_rng(0)
    plans = [_drawn(files.groups, max_ratio, order) for _ in range(PLANS)]
    found: list[float] = []
    for start in range(0, PLANS, 8):
        progress.work("latency of widths", start, PLANS)
        found += costs.of(plans[start : start + 8], start)
    return fitted(layers, plans, found)


def _drawn(groups: Sequence[Group], max_ratio: float, order: np.random.Generator) -> list[int]:
    """Widths around a common share, that share drawn too."""
    share = 1 - max_ratio * order.random()
    wanted = [group.channels * min(1.0, max(1 - max_ratio, share + order.uniform(-0.25, 0.25))) for group in groups]
    return [
        group.channels if group.kept_because else max(1, min(group.channels, 8 * round(width / 8) or group.channels))
        for group, width in zip(groups, wanted, strict=True)
    ]


def _nearest(
    path: Sequence[list[int]],
    predicted: Callable[[Sequence[int]], float],
    measured: Callable[[Sequence[int]], float],
    limit: float,
    progress: Progress,
) -> Chosen:
    """The widths on a path that measure just within a limit; predictions are corrected by what was measured."""
    costs, correction = np.array([predicted(keep) for keep in path]), 1.0
    tried: dict[int, float] = {}
    for number in range(TRIES):
        within = np.flatnonzero(costs * correction <= AIM * limit)
        at = int(within[0]) if len(within) else len(path) - 1
        if at in tried:
            break
        progress.work("widths within the limit", number, TRIES)
        tried[at] = measured(path[at])
        correction = tried[at] / costs[at]
        if abs(tried[at] / limit - AIM) <= NEAR_ENOUGH:
            break
    kept = {at: cost for at, cost in tried.items() if cost <= limit} or tried
    best = min(kept, key=lambda at: abs(kept[at] - AIM * limit))
    return Chosen(list(path[best]), tried[best])
