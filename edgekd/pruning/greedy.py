"""Widths for a cost: channels go where they cost least importance for what they save."""

from collections.abc import Callable, Sequence

import torch

from edgekd.config.target import width_step
from edgekd.ondevice.machine import Isa
from edgekd.pruning.group import Group

Cost = Callable[[Sequence[int]], float]
"""What widths cost, given how many channels each group keeps."""


def cheapest_path(groups: Sequence[Group], cost: Cost, max_ratio: float, isa: Isa) -> list[list[int]]:
    """Widths from the whole network to the narrowest, a step in one group at a time.

    Each step is the one with the least loss for what it saves. The loss is the share that goes of the importance that
    is left in a group, times the layers that lose it: so a group that has lost much loses its last channels at a high
    price, and a residual stream is as dear as the layers that write it are many.

    Args:
        groups: of a network.
        cost: of widths; less for fewer channels.
        max_ratio: largest share of its channels that a group may lose.
        isa: decides the steps that the kernels like.

    Returns:
        For each step how many channels each group keeps, the whole network first.
    """
    steps = [_steps(group, max_ratio, isa) for group in groups]
    left = [_left(group) for group in groups]
    at = [0] * len(groups)
    path = [[group.channels for group in groups]]
    while open_groups := [number for number in range(len(groups)) if at[number] + 1 < len(steps[number])]:
        now, current = path[-1], cost(path[-1])
        best, least = -1, float("inf")
        for number in open_groups:
            fewer = steps[number][at[number] + 1]
            saved = current - cost([*now[:number], fewer, *now[number + 1 :]])
            lost = (1 - left[number][fewer] / left[number][now[number]]) * len(groups[number].layers)
            price = lost / max(saved, 1e-12)
            if price < least:
                best, least = number, price
        at[best] += 1
        path.append([*now[:best], steps[best][at[best]], *now[best + 1 :]])
    return path


def _steps(group: Group, max_ratio: float, isa: Isa) -> list[int]:
    """Widths that a group may have, the widest first."""
    if group.kept_because:
        return [group.channels]
    step = width_step(group.channels, isa)
    least = group.channels * (1 - max_ratio)
    return [group.channels, *(w for w in range((group.channels - 1) // step * step, 0, -step) if w >= least - 1e-9)]


def _left(group: Group) -> list[float]:
    """The importance of the most important channels, by their number: index 0 to all of them."""
    strongest = group.scores.double().clamp(min=1e-9).sort(descending=True).values
    return [0.0, *torch.cumsum(strongest, 0).tolist()]
