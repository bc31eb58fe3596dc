"""A group of channels that are removed or kept together."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Channels that are removed or kept together in every layer that shares them.

    Args:
        layers: names of the layers whose outputs they are; the first is the root.
        channels: outputs of the root.
        scores: importance per channel, shape ``(channels,)``, mean 1.
        kind: equal for groups of the same structure, which are ranked together.
        kept_because: why the group is not pruned; empty if it may be.
    """

    layers: tuple[str, ...]
    channels: int
    scores: Tensor
    kind: str
    kept_because: str = ""
