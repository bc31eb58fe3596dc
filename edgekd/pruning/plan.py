"""How many channels each group keeps."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch

from edgekd.config.target import round_width, width_step
from edgekd.ondevice.machine import Isa
from edgekd.pruning.group import Group

Scope = Literal["global", "layer"]


def plan_widths(groups: Sequence[Group], ratio: float, scope: Scope, max_ratio: float, isa: Isa) -> list[int]:
    """How many channels each group keeps."""
    wanted = _ranked(groups, ratio) if scope == "global" else [group.channels * (1 - ratio) for group in groups]
    return [_width(group, want, max_ratio, isa) for group, want in zip(groups, wanted, strict=True)]


def fewest_widths(groups: Sequence[Group], ratio: float, scope: Scope, max_ratio: float, isa: Isa) -> list[int]:
    """The fewest channels that each group can keep, whatever the scores are.

    If groups are ranked together, all removed channels of one kind may come from one group.
    """
    if scope == "layer":
        return plan_widths(groups, ratio, scope, max_ratio, isa)
    alike = Counter[str]()
    for group in groups:
        alike[group.kind] += group.channels
    wanted = [max(0, group.channels - int(ratio * alike[group.kind])) for group in groups]
    return [_width(group, want, max_ratio, isa) for group, want in zip(groups, wanted, strict=True)]


def _width(group: Group, wanted: float, max_ratio: float, isa: Isa) -> int:
    """The rounded width, never below what ``max_ratio`` leaves."""
    if group.kept_because:
        return group.channels
    # Not torch-pruning's round_to: it rounds down, and silently leaves a group that would get 0 channels unpruned and
    # unaligned.
    step = width_step(group.channels, isa)
    # 1e-9: float rounding must not add a step where the share is a whole number of steps.
    least = math.ceil(group.channels * (1 - max_ratio) / step - 1e-9) * step
    return min(group.channels, max(least, round_width(wanted, group.channels, isa)))


def _ranked(groups: Sequence[Group], ratio: float) -> list[float]:
    """Channels that each group keeps if the weakest ``ratio`` of all channels of its kind are removed."""
    stay: dict[int, float] = {}
    for kind in {group.kind for group in groups}:
        alike = [i for i, group in enumerate(groups) if group.kind == kind]
        scores = torch.cat([groups[i].scores for i in alike])
        owners = torch.cat([torch.full((groups[i].channels,), i) for i in alike])
        # By count, not by a threshold, which would keep or drop all equal scores together. A stable sort breaks ties
        # the same way on every machine.
        staying = owners[scores.argsort(stable=True)[int(ratio * len(scores)) :]]
        stay |= {i: float((staying == i).sum()) for i in alike}
    return [stay[i] for i in range(len(groups))]
