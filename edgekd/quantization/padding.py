"""Padding as an operator of its own in a captured graph: what it adds, and what it leaves as it was."""

import math
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


def padded_with(node: fx.Node) -> float | None:
    """The number that a Pad adds; None where it repeats what is there."""
    defaults: tuple[Any, ...] = (None, [], "constant", None)
    _, _, mode, value = node.args + defaults[len(node.args) :]
    return float(value or 0) if mode == "constant" else None


def keeps_scale(node: fx.Node) -> bool:
    """Is this a Pad that adds only what a rounded tensor's scale has exactly: zeros, or its own numbers?"""
    return node.target == aten.pad.default and not padded_with(node)


def without_padding(node: fx.Node) -> fx.Node:
    """What such a Pad reads; any other node itself."""
    source: Any = node
    while keeps_scale(source):
        source = source.args[0]
    return source  # type: ignore[no-any-return]


def adds_lowest(node: fx.Node) -> bool:
    """Is this a Pad of minus infinity that only maxima read?"""
    maxima = all(user.target == aten.max_pool2d.default for user in node.users)
    return node.target == aten.pad.default and padded_with(node) == -math.inf and maxima
