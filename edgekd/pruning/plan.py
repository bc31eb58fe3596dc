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
    """How many channels each group keeps at least, whatever the scores are.

    Where groups are ranked together, all that goes of one kind may go from one group.
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
    # Rounded here, not by torch-pruning: its round_to rounds down, and a group that comes to zero it leaves whole and
    # unaligned without a word.
    step = width_step(group.channels, isa)
    # The small number undoes float rounding, which would ask for one step more of a share that is whole steps.
    least = math.ceil(group.channels * (1 - max_ratio) / step - 1e-9) * step
    return min(group.channels, max(least, round_width(wanted, group.channels, isa)))


def _ranked(groups: Sequence[Group], ratio: float) -> list[float]:
    """Channels that stay where ``ratio`` of all channels of one kind of group go, the weakest first."""
    stay: dict[int, float] = {}
    for kind in {group.kind for group in groups}:
        alike = [i for i, group in enumerate(groups) if group.kind == kind]
        scores = torch.cat([groups[i].scores for i in alike])
        owners = torch.cat([torch.full((groups[i].channels,), i) for i in alike])
        # Counted, not compared with a threshold: equal scores would all go or all stay. Stable, so that ties fall alike
        # on every machine.
        staying = owners[scores.argsort(stable=True)[int(ratio * len(scores)) :]]
        stay |= {i: float((staying == i).sum()) for i in alike}
    return [stay[i] for i in range(len(groups))]
