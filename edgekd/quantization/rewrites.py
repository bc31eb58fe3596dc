"""Operators that ONNX Runtime has no integer kernel for, written with those it has; in float the answers stay."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgekd.quantization.graph import put_call, tensor_at

aten = torch.ops.aten
_BIASED = (aten.conv2d.default, aten.linear.default)
_RANGED = (*_BIASED, aten.batch_norm.default, aten.add.Tensor)
"""What takes its output range behind a clip that follows; the clip is then no operator of its own."""


def with_integer_operators(graph: fx.GraphModule) -> None:
    """Write gates (HardSwish, HardSigmoid, SiLU) as sums, clips and products, layers over many axes as rows, in place.

    Only for a graph that is quantized: in float the operators themselves are faster.
    """
    for node in list(graph.graph.nodes):
        if node.target in _REWRITES:
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(_REWRITES[node.target](graph, node))
            graph.graph.erase_node(node)
    graph.recompile()


def _hardswish(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """``x * relu6(x + 3) / 6``; below -3 the answer is 0 as it is at -3, so that x's range need not reach further."""
    source: Any = node.args[0]
    if len(source.users) == 1 and source.target in _RANGED:
        source = put_call(graph, aten.clamp.default, (source, -3.0), source)
    return put_call(graph, aten.mul.Tensor, (source, _gate(graph, source)), node)


def _hardsigmoid(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """``relu6(x + 3) / 6``, the 3 inside the bias of a layer that feeds nothing else."""
    source: Any = node.args[0]
    bias = _own_bias(graph, source)
    if bias is None:
        return _gate(graph, source)
    with torch.no_grad():
        bias += 3.0
    return _sixth_of_clipped(graph, source)


def _own_bias(graph: fx.GraphModule, layer: fx.Node) -> Tensor | None:
    """The bias of a layer that only one operator reads, if no other layer shares it."""
    if layer.target not in _BIASED or len(layer.users) != 1 or len(layer.args) < 3:
        return None
    bias: Any = layer.args[2]
    return tensor_at(graph, bias) if bias is not None and len(bias.users) == 1 else None


def _gate(graph: fx.GraphModule, source: fx.Node) -> fx.Node:
    return _sixth_of_clipped(graph, put_call(graph, aten.add.Tensor, (source, 3.0), source))


def _sixth_of_clipped(graph: fx.GraphModule, source: fx.Node) -> fx.Node:
    """The sixth is no operator of its own in the file: it becomes part of a scale."""
    clipped = put_call(graph, aten.hardtanh.default, (source, 0.0, 6.0), source)
    return put_call(graph, aten.mul.Tensor, (clipped, 1 / 6), source)


def _silu(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    source: Any = node.args[0]
    gate = put_call(graph, aten.sigmoid.default, (source,), source)
    return put_call(graph, aten.mul.Tensor, (source, gate), node)


def _linear(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """A layer over the last of several axes works on rows: only with two axes its bias is part of the kernel."""
    source: Any = node.args[0]
    *rows, outputs = node.meta["val"].shape
    if len(rows) == 1:
        return put_call(graph, node.target, node.args, node)
    inputs, count = source.meta["val"].shape[-1], math.prod(rows)
    flat = put_call(graph, aten.reshape.default, (source, [-1, inputs]), source, [count, inputs])
    product = put_call(graph, node.target, (flat, *node.args[1:]), node, [count, outputs])
    return put_call(graph, aten.reshape.default, (product, [-1, *rows[1:], outputs]), node)


_REWRITES: dict[Any, Callable[[fx.GraphModule, fx.Node], fx.Node]] = {
    aten.hardswish.default: _hardswish,
    aten.hardsigmoid.default: _hardsigmoid,
    aten.silu.default: _silu,
    aten.linear.default: _linear,
}
