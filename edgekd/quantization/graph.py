"""The captured graph: plain operators, nothing in place, no shape arithmetic."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.errors import QuantizationError

aten = torch.ops.aten
RESHAPING = (aten.flatten.using_ints, aten.view.default, aten.reshape.default)

_OUT_OF_PLACE = {
    aten.relu_.default: aten.relu.default,
    aten.hardtanh_.default: aten.hardtanh.default,
    aten.add_.Tensor: aten.add.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.hardswish_.default: aten.hardswish.default,
    aten.hardsigmoid_.default: aten.hardsigmoid.default,
    aten.silu_.default: aten.silu.default,
    aten.sigmoid_.default: aten.sigmoid.default,
}


_PASSING = (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.contiguous.default)
"""What leaves its input as it is in an inference graph."""


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """The network's inference graph with a free batch size.

    Dropout is gone; nothing works in place; global pooling is a mean, whose export needs no shape arithmetic.

    Args:
        model: a float network; its weights are copied, the network stays as it is.
        example: images as the network sees them, two or more.

    Raises:
        QuantizationError: torch.export cannot capture it.
    """
    batch = torch.export.Dim("batch", min=1, max=65536)
    try:
        program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise QuantizationError(
            type(model).__name__, f"cannot be captured ({first})", "leave the qat stage out"
        ) from None
    graph: Any = program.module()
    _make_plain(graph)
    for name, parameter in list(graph.named_parameters()):
        _set(graph, name, nn.Parameter(parameter.detach().clone()))
    for name, buffer in list(graph.named_buffers()):
        _set(graph, name, buffer.detach().clone())
    return graph  # type: ignore[no-any-return]


def _make_plain(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.target in _PASSING:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
        elif node.target == aten.cat.default and len(node.args[0]) == 1:
            node.replace_all_uses_with(node.args[0][0])
            graph.graph.erase_node(node)
        elif node.op == "call_module" and node.target.startswith("_guards_fn"):
            graph.graph.erase_node(node)
        elif node.target in RESHAPING:
            _free_the_batch(node)
        elif node.target == aten.adaptive_avg_pool2d.default:
            _pool_plainly(graph, node)
        elif node.target == aten.mean.dim and len(node.args) == 2:
            _keep_rank_while_pooling(graph, node)
        elif node.target in (aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default):
            _slice(graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _free_the_batch(node: fx.Node) -> None:
    """Give a reshape constant sizes behind the batch, so that no shape arithmetic reaches the ONNX file."""
    batch, *rest = node.meta["val"].shape
    if not isinstance(batch, int) and all(isinstance(size, int) for size in rest):
        node.target, node.args = aten.reshape.default, (node.args[0], [-1, *rest])


def _keep_rank_while_pooling(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a mean over height and width that drops them as one that keeps them and a reshape: pooling is integer."""
    images: Any = node.args[0]
    if images.meta["val"].dim() != 4 or sorted(axis % 4 for axis in node.args[1]) != [2, 3]:
        return
    with graph.graph.inserting_before(node):
        pooled = put_call(graph, aten.mean.dim, (images, [2, 3], True), node)
    node.target, node.args = aten.reshape.default, (pooled, [-1, node.meta["val"].shape[1]])


def _pool_plainly(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write adaptive pooling as what it is at this image size: a mean, nothing, or pooling with a fixed window.

    Where an output is larger than what is pooled, or no multiple of it fits, it is a product with a constant matrix.
    """
    images: Any = node.args[0]
    before, after = list(images.meta["val"].shape[2:]), list(node.args[1])
    if after == [1, 1]:
        node.target, node.args = aten.mean.dim, (images, [2, 3], True)
    elif before == after:
        node.replace_all_uses_with(images)
        graph.graph.erase_node(node)
    elif all(size % wanted == 0 for size, wanted in zip(before, after, strict=True)):
        window = [size // wanted for size, wanted in zip(before, after, strict=True)]
        node.target, node.args = aten.avg_pool2d.default, (images, window, window)
    else:
        _pool_by_matrix(graph, node, before, after)


def _pool_by_matrix(graph: fx.GraphModule, node: fx.Node, before: list[int], after: list[int]) -> None:
    channels = node.meta["val"].shape[1]
    matrix = pooling_matrix(before, after)
    weight = put_tensor(graph, f"{node.name}_matrix", matrix, node)
    with graph.graph.inserting_before(node):
        flat = put_call(graph, aten.reshape.default, (node.args[0], [-1, channels, matrix.shape[1]]), node)
        pooled = put_call(graph, aten.linear.default, (flat, weight), node)
    node.target, node.args = aten.reshape.default, (pooled, [-1, channels, *after])


def pooling_matrix(before: list[int], after: list[int]) -> Tensor:
    """Adaptive average pooling as a matrix, shape ``(outputs, inputs)``, of height x width numbers in rows."""
    pixels = before[0] * before[1]
    return torch.nn.functional.adaptive_avg_pool2d(torch.eye(pixels).reshape(pixels, *before), after).flatten(1).T


def _slice(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a split as slices: they pass integers on, and each is one tensor."""
    axis, start = node.args[2] if len(node.args) > 2 else 0, 0
    readers = {reader.args[1]: reader for reader in node.users}
    for which, part in enumerate(node.meta["val"]):
        size = part.shape[axis]
        if which in readers:
            readers[which].target = aten.slice.Tensor
            readers[which].args = (node.args[0], axis, start, start + size)
        start += size
    graph.graph.erase_node(node)


def tensor_at(graph: fx.GraphModule, node: Any) -> Tensor | None:
    """The parameter or buffer that a ``get_attr`` node reads; None for no node."""
    if node is None:
        return None
    owner, _, name = node.target.rpartition(".")
    value: Tensor = getattr(graph.get_submodule(owner), name)
    return value


def _set(graph: nn.Module, target: str, value: Any) -> None:
    owner, _, name = target.rpartition(".")
    setattr(graph.get_submodule(owner), name, value)


def put_call(graph: fx.GraphModule, target: Any, args: tuple[Any, ...], like: fx.Node) -> fx.Node:
    """A new node where the graph is being inserted into; ``like`` tells torchao what kind of value it gives."""
    node = graph.graph.call_function(target, args)
    node.meta["val"] = like.meta["val"]
    return node


def put_tensor(graph: fx.GraphModule, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    """A new constant of the graph and the node that reads it."""
    graph.register_buffer(name, value.detach().clone())
    with graph.graph.inserting_before(before):
        return graph.graph.get_attr(name)


def with_simple_clipping(graph: fx.GraphModule) -> None:
    """Write ``relu6`` and the like as ``clamp``, in place: the ONNX exporter takes that as it is, and fast."""
    for node in graph.graph.nodes:
        if node.target == aten.hardtanh.default:
            defaults: tuple[Any, ...] = (None, -1.0, 1.0)
            images, low, high = node.args + defaults[len(node.args) :]
            node.target, node.args = aten.clamp.default, (images, low, high)
    graph.recompile()
