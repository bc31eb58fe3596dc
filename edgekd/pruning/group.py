"""A group: channels that go or stay together."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Channels that go or stay together, through every layer that shares them.

    Args:
        layers: names of the layers whose outputs they are; the first is the root.
        channels: outputs of the root.
        scores: importance per channel, shape ``(channels,)``, mean 1.
        kind: alike for groups of the same structure, which are ranked together.
        kept_because: why the group is left alone; empty where it may be pruned.
    """

    layers: tuple[str, ...]
    channels: int
    scores: Tensor
    kind: str
    kept_because: str = ""
