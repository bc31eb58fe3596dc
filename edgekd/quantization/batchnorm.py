"""Batch norms of a captured graph: beside their convolution while training, folded into it afterwards."""

from typing import Any

import torch
from torch import Tensor, fx

from edgekd.errors import QuantizationError
from edgekd.quantization.graph import put_call, put_tensor, tensor_at

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv2d.default,)
SMALLEST_FACTOR = 1e-6
"""Keeps the division by a batch norm's scale finite where a channel is dead."""


def with_convolutions_before(graph: fx.GraphModule) -> None:
    """Put a depthwise 1x1 convolution that changes nothing before each batch norm that no convolution precedes.

    Integers are multiplied and shifted per channel by convolutions alone; the batch norm folds into this one.
    """
    followed = {norm for _, norm in batchnorms(graph)}
    for norm in [node for node in graph.graph.nodes if node.target == aten.batch_norm.default]:
        if norm in followed or norm.meta["val"].dim() != 4:
            continue
        channels = norm.meta["val"].shape[1]
        ones = put_tensor(graph, f"{norm.name}_ones", torch.ones(channels, 1, 1, 1), norm)
        with graph.graph.inserting_before(norm):
            same = (norm.args[0], ones, None, [1, 1], [0, 0], [1, 1], channels)
            conv = put_call(graph, aten.conv2d.default, same, norm)
        norm.args = (conv, *norm.args[1:])
    graph.recompile()


def batchnorms(graph: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """Each batch norm that alone reads a convolution, with that convolution."""
    pairs = []
    for node in graph.graph.nodes:
        if (
            node.target == aten.batch_norm.default
            and node.args[0].target in CONVOLUTIONS
            and len(node.args[0].users) == 1
        ):
            pairs.append((node.args[0], node))
    return pairs


def fold_factor(gamma: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    """What a batch norm multiplies each channel with, kept away from zero; gamma learns in the batch norm alone."""
    factor = (gamma / torch.sqrt(variance + epsilon)).detach()
    return torch.where(factor.abs() < SMALLEST_FACTOR, torch.full_like(factor, SMALLEST_FACTOR), factor)


def fold_weight(weight: Tensor, gamma: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    """A convolution's weight as it will be after folding: that is what integers have to represent."""
    return weight * fold_factor(gamma, variance, epsilon).reshape(-1, *[1] * (weight.dim() - 1))


def unfold_output(output: Tensor, bias: Tensor | None, gamma: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    """The output that the convolution would have had with its own weight, for the batch norm behind it."""
    raw = output * fold_factor(gamma, variance, epsilon).reciprocal().reshape(1, -1, 1, 1)
    return raw if bias is None else raw + bias.reshape(1, -1, 1, 1)


def with_training_batchnorm(graph: fx.GraphModule) -> None:
    """Let every convolution compute with its folded weight while its batch norm still learns, in place.

    Source: Jacob et al. (2018), section 3.2; Krishnamoorthi (2018), section 3.2.2.
    """
    for conv, norm in batchnorms(graph):
        gamma, _, _, variance = norm.args[1:5]
        epsilon = norm.args[7]
        weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        with graph.graph.inserting_before(conv):
            folded = graph.graph.call_function(fold_weight, (weight, gamma, variance, epsilon))
        conv.args = (conv.args[0], folded, None, *conv.args[3:])
        with graph.graph.inserting_after(conv):
            raw = graph.graph.call_function(unfold_output, (conv, bias, gamma, variance, epsilon))
        norm.args = (raw, *norm.args[1:])
    _order(graph)


def _order(graph: fx.GraphModule) -> None:
    """Put every read of a parameter at the top, before anything that uses it."""
    first = next(node for node in graph.graph.nodes if node.op != "get_attr")
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            first.prepend(node)
    graph.graph.lint()
    graph.recompile()


MOMENTUM = 0.1
"""What a batch norm takes of each batch while it trains."""


def let_batchnorm_learn(graph: fx.GraphModule, learn: bool, momentum: float = MOMENTUM) -> None:
    """Switch every batch norm between the batch's statistics (and learning them) and the learned ones."""
    for node in graph.graph.nodes:
        if node.target == aten.batch_norm.default:
            node.args = (*node.args[:5], learn, momentum, *node.args[7:])
    graph.recompile()


def fold_batchnorm(graph: fx.GraphModule) -> None:
    """Fold every batch norm into the convolution before it, in place, around a fake quantizer of the weight too."""
    for norm in [node for node in graph.graph.nodes if node.target == aten.batch_norm.default]:
        raw = norm.args[0]
        if raw.target == unfold_output:
            _fold(graph, raw.args[0], norm, bias=raw.args[1])
        elif raw.target in CONVOLUTIONS and len(raw.users) == 1:
            _fold(graph, raw, norm, bias=raw.args[2] if len(raw.args) > 2 else None)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph.delete_all_unused_submodules()


def _fold(graph: fx.GraphModule, conv: fx.Node, norm: fx.Node, bias: Any) -> None:
    gamma, beta, mean, variance = (tensor_at(graph, node) for node in norm.args[1:5])
    if gamma is None or beta is None or mean is None or variance is None:
        raise QuantizationError(norm.name, "this batch norm has no scale and shift", "take affine batch norms")
    epsilon: Any = norm.args[7]
    weight, shift = folded_tensors(
        raw_weight(graph, conv), tensor_at(graph, bias), gamma, beta, mean, variance, epsilon
    )
    weight_node = put_tensor(graph, f"{conv.name}_folded_weight", weight, conv)
    bias_node = put_tensor(graph, f"{conv.name}_folded_bias", shift, conv)
    reader: Any = conv.args[1]
    if reader.op == "call_module":
        reader.args = (weight_node,)
        reader.prepend(weight_node)
        weight_node = reader
    conv.args = (conv.args[0], weight_node, bias_node, *conv.args[3:])
    norm.replace_all_uses_with(conv)
    graph.graph.erase_node(norm)


def raw_weight(graph: fx.GraphModule, conv: fx.Node) -> Tensor:
    """The weight that a convolution was given, before it was folded and rounded."""
    node: Any = conv.args[1]
    while node.op != "get_attr":
        node = node.args[0]
    weight = tensor_at(graph, node)
    assert weight is not None
    return weight


def folded_tensors(
    weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias with the batch norm behind it folded in.

    Args:
        weight: shape ``(outputs, inputs / groups, height, width)``.
        bias: shape ``(outputs,)`` or None.
        gamma, beta, mean, variance: the batch norm's, shape ``(outputs,)``.
        epsilon: the batch norm's.
    """
    factor = gamma / torch.sqrt(variance + epsilon)
    shift = mean if bias is None else mean - bias
    return weight * factor.reshape(-1, 1, 1, 1), beta - shift * factor
