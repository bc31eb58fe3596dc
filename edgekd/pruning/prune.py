"""Prunes networks: finds, ranks and cuts channels, and proves the cut."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.config.target import width_step
from edgekd.errors import PruningError
from edgekd.ondevice.machine import Isa
from edgekd.pruning.criteria import L2, Importance
from edgekd.pruning.graph import outputs_of
from edgekd.pruning.group import Group
from edgekd.pruning.plan import Scope, fewest_widths, plan_widths
from edgekd.pruning.proof import randomised
from edgekd.pruning.structure import Structure, structure_of
from edgekd.zoo import ModelSpec, count_macs, count_params

Plan = Callable[[float], list[int]]
"""How many channels each group keeps at a ratio."""
Widths = Callable[[Sequence[Group], float, Scope, float, Isa], list[int]]
"""Channels that groups keep, given ratio, scope, max_ratio and instruction set."""


@dataclass(frozen=True)
class WidthChange:
    """One layer's channels before and after."""

    layer: str
    before: int
    after: int
    note: str = ""


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what was done to it.

    Args:
        channels: layer that lost some -> the numbers that those which stayed had before.
    """

    model: nn.Module
    channels: dict[str, list[int]]
    widths: list[WidthChange]
    pruning_ratio: float
    macs: tuple[int, int]
    params: tuple[int, int]


def prune(
    model: nn.Module, spec: ModelSpec, ratio: float, *, importance: Importance, scope: Scope, max_ratio: float, isa: Isa
) -> Pruned:
    """A smaller copy of ``model``; the model itself stays as it is.

    Args:
        model: a float network; for ``Taylor`` its parameters carry gradients (see ``accumulate_gradients``).
        spec: how it was built.
        ratio: share of channels to remove (0..1).
        importance: which channels matter.
        scope: global ranks groups of the same structure together; layer removes the same share everywhere.
        max_ratio: largest share of its channels that a layer may lose.
        isa: widths are rounded to what suits its kernels.

    Raises:
        PruningError: the network cannot be traced, no layer of it can lose channels, or nothing would be removed.
    """
    structure = structure_of(model, spec, importance)
    plan = _plan(structure, plan_widths, scope, max_ratio, isa)
    _check_something_goes(structure.groups, plan, ratio)
    return _pruned(structure, plan(ratio), ratio, isa)


def prune_to_macs(
    model: nn.Module,
    spec: ModelSpec,
    macs_ratio: float,
    *,
    importance: Importance,
    scope: Scope,
    max_ratio: float,
    isa: Isa,
) -> Pruned:
    """The least pruned copy of ``model`` with at most ``macs_ratio`` of its MACs, by bisection of the channel ratio.

    Takes what ``prune`` takes. Widths go in steps, so that the MACs come out somewhat below the target.

    Raises:
        PruningError: as ``prune`` does; or the narrowest widths have more MACs.
    """
    structure = structure_of(model, spec, importance)
    plan = _plan(structure, plan_widths, scope, max_ratio, isa)
    wanted = macs_ratio * count_macs(model, spec)
    _check_macs(structure, plan(1.0), macs_ratio, max_ratio)
    low, high = 0.0, 1.0
    # Seven halvings resolve 1/128: one step of 16 channels in a layer of 2048. ``high`` always meets the target, since
    # _check_macs has made sure that 1.0 does.
    for _ in range(7):
        middle = (low + high) / 2
        if structure.macs(plan(middle)) <= wanted:
            high = middle
        else:
            low = middle
    return _pruned(structure, plan(high), high, isa)


def prune_to(
    model: nn.Module,
    spec: ModelSpec,
    widths: Callable[[Sequence[Group]], Sequence[int]],
    *,
    importance: Importance,
    isa: Isa,
) -> Pruned:
    """A smaller copy of ``model`` of chosen widths.

    Args:
        model: as ``prune`` takes it, and so the rest.
        spec: how it was built.
        widths: how many channels each group keeps.
        importance: which channels stay.
        isa: whose kernels notes are about.

    Raises:
        PruningError: the network cannot be traced, or no layer of it can lose channels.
    """
    structure = structure_of(model, spec, importance)
    keep = widths(structure.groups)
    whole = sum(group.channels for group in structure.groups)
    return _pruned(structure, keep, 1 - sum(keep) / whole, isa)


def groups_of(model: nn.Module, spec: ModelSpec) -> list[Group]:
    """The groups of a network's channels, whatever its weights are; they matter alike.

    Raises:
        PruningError: the network cannot be traced, or no layer of it can lose channels.
    """
    return structure_of(randomised(model), spec, L2()).groups


def check_prunable(
    model: nn.Module,
    spec: ModelSpec,
    ratio: float | None,
    macs_ratio: float | None,
    *,
    importance: Importance,
    scope: Scope,
    max_ratio: float,
    isa: Isa,
) -> nn.Module:
    """Raise, before anything is trained, if ``prune`` or ``prune_to_macs`` would raise for any weights.

    Args:
        model: a network of ``build(spec)``, trained or not, perhaps pruned; it stays as it is.
        spec: how it was built.
        ratio: share of channels to remove; or None.
        macs_ratio: share of the MACs to keep, where ``ratio`` is None.
        importance: as ``prune`` takes it, and so the rest.

    Returns:
        A network of the widths that pruning will leave; ``model`` itself if they depend on its weights.

    Raises:
        PruningError: the network cannot be pruned at all, not by this measure, or not so far.
    """
    twin = randomised(model).requires_grad_(True)
    for parameter in twin.parameters():
        # ``Taylor`` needs gradients, and nothing has been trained yet.
        parameter.grad = torch.ones_like(parameter)
    if macs_ratio is not None:
        found = prune_to_macs(twin, spec, macs_ratio, importance=importance, scope=scope, max_ratio=max_ratio, isa=isa)
        return found.model if scope == "layer" else model
    assert ratio is not None
    if scope == "layer":
        return prune(twin, spec, ratio, importance=importance, scope=scope, max_ratio=max_ratio, isa=isa).model
    structure = structure_of(twin, spec, importance)
    _check_something_goes(structure.groups, _plan(structure, fewest_widths, scope, max_ratio, isa), ratio)
    return model


def _plan(structure: Structure, widths: Widths, scope: Scope, max_ratio: float, isa: Isa) -> Plan:
    return lambda ratio: widths(structure.groups, ratio, scope, max_ratio, isa)


def _check_something_goes(groups: Sequence[Group], plan: Plan, ratio: float) -> None:
    whole = [group.channels for group in groups]
    if plan(ratio) != whole:
        return
    widest = max((group.channels for group in groups if not group.kept_because), default=0)
    found = f"nothing is removed at {ratio:g}: the widest prunable layer has {widest} channels"
    least = next((percent / 100 for percent in range(1, 100) if plan(percent / 100) != whole), None)
    if least is None:
        raise PruningError(
            "pruning_ratio", f"{found}, too few for any ratio", "raise max_pruning_ratio or take a wider network"
        )
    raise PruningError(
        "pruning_ratio",
        f"{found}, and {least:g} is the least that removes any",
        "raise the ratio or take a wider network",
    )


def _check_macs(structure: Structure, narrowest: list[int], macs_ratio: float, max_ratio: float) -> None:
    least = structure.macs(narrowest) / structure.macs([group.channels for group in structure.groups])
    if least > macs_ratio:
        told = math.ceil(1000 * least) / 1000
        found = (
            f"{macs_ratio:g} of the MACs cannot be reached: {told:g} is the least at max_pruning_ratio {max_ratio:g}"
        )
        raise PruningError("macs_ratio", found, "raise macs_ratio or max_pruning_ratio")


def _pruned(structure: Structure, keep: Sequence[int], ratio: float, isa: Isa) -> Pruned:
    smaller = structure.proved(keep)
    before, after = dict(structure.model.named_modules()), dict(smaller.named_modules())
    changes = [
        WidthChange(layer, outputs_of(before[layer]), outputs_of(after[layer]), _note(group, kept, isa))
        for group, kept in zip(structure.groups, keep, strict=True)
        for layer in group.layers
    ]
    macs = (count_macs(structure.model, structure.spec), count_macs(smaller, structure.spec))
    params = (count_params(structure.model), count_params(smaller))
    return Pruned(smaller, structure.stay(keep), changes, ratio, macs, params)


def _note(group: Group, kept: int, isa: Isa) -> str:
    if group.kept_because:
        return group.kept_because
    if group.channels < width_step(group.channels, isa):
        return "kept: narrower than one step of the target's kernels"
    # Measured on AVX2: at 8 channels the integer convolution loses to the float one, from 16 on it wins.
    return f"narrower than 16: integer kernels gain little on {isa}" if kept < 16 and isa != "arm64" else ""
