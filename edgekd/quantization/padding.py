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


RESHAPING = {
    aten.flatten.using_ints, aten.view.default, aten.reshape.default, aten.permute.default, aten.transpose.int,
    aten.squeeze.dims, aten.squeeze.dim, aten.slice.Tensor,
}  # fmt: skip
"""What leaves every number as it is, in another place."""


def is_image(node: fx.Node) -> bool:
    """Is this the image: as it is given, with zeros around, or in another shape for fully connected layers alone?"""
    return without_padding(node).op == "placeholder" or is_flat_image(node)


def is_flat_image(node: fx.Node) -> bool:
    """Is this the image in another shape, of which fully connected layers alone read anything?"""
    source: Any = node
    while source.target in RESHAPING:
        source = source.args[0]
    return source is not node and source.op == "placeholder" and _leads_to_linear(node)


def _leads_to_linear(node: fx.Node) -> bool:
    return all(
        user.target == aten.linear.default or (user.target in RESHAPING and _leads_to_linear(user))
        for user in node.users
    )


def adds_lowest(node: fx.Node) -> bool:
    """Is this a Pad of minus infinity that only maxima read?"""
    maxima = all(user.target == aten.max_pool2d.default for user in node.users)
    return node.target == aten.pad.default and padded_with(node) == -math.inf and maxima
