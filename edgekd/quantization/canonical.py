"""One way to write each thing: splits as slices, pooling as what it is at this image size, reshapes by numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgekd.quantization.graph import put_call, put_tensor

aten = torch.ops.aten


def make_plain(graph: fx.GraphModule) -> None:
    """Rewrite a freshly exported graph in place; its answers stay."""
    for node in list(graph.graph.nodes):
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.op == "call_module" and node.target.startswith("_guards_fn"):
            graph.graph.erase_node(node)
        elif node.target in _PLAIN:
            _PLAIN[node.target](graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _pass_on(graph: fx.GraphModule, node: fx.Node) -> None:
    """Remove what leaves its input as it is."""
    source: Any = node.args[0]
    node.replace_all_uses_with(source)
    graph.graph.erase_node(node)


def _concatenate(graph: fx.GraphModule, node: fx.Node) -> None:
    """Remove a concatenation of a single part: dense blocks begin with one."""
    parts: Any = node.args[0]
    if len(parts) == 1:
        node.replace_all_uses_with(parts[0])
        graph.graph.erase_node(node)


def _add(graph: fx.GraphModule, node: fx.Node) -> None:
    """Remove a sum with zero: sums over branches begin with one."""
    if node.args[1] == 0 and node.meta["val"].shape == _any(node.args[0]).meta["val"].shape:
        _pass_on(graph, node)


def _free_the_batch(_graph: fx.GraphModule, node: fx.Node) -> None:
    """Give a reshape constant sizes behind the batch, so that no shape arithmetic reaches the ONNX file."""
    batch, *rest = node.meta["val"].shape
    if not isinstance(batch, int) and all(isinstance(size, int) for size in rest):
        node.target, node.args = aten.reshape.default, (node.args[0], [-1, *rest])


def _keep_rank_while_pooling(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a mean over height and width that drops them as one that keeps them and a reshape: pooling is integer."""
    images, axes, *keeps = _any(node.args)
    sizes = images.meta["val"].shape
    if any(keeps) or len(sizes) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        return
    with graph.graph.inserting_before(node):
        pooled = put_call(graph, aten.mean.dim, (images, [2, 3], True), node, [*sizes[:2], 1, 1])
    node.target, node.args = aten.reshape.default, (pooled, [-1, sizes[1]])


def _pool(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write adaptive pooling as what it is at this image size: a mean, nothing, or pooling with a fixed window.

    Where the window differs from place to place it is a product with a constant matrix.
    """
    images, after = _any(node.args)
    before = list(images.meta["val"].shape[2:])
    if list(after) == [1, 1]:
        node.target, node.args = aten.mean.dim, (images, [2, 3], True)
    elif before == list(after):
        _pass_on(graph, node)
    elif all(size % wanted == 0 for size, wanted in zip(before, after, strict=True)):
        window = [size // wanted for size, wanted in zip(before, after, strict=True)]
        node.target, node.args = aten.avg_pool2d.default, (images, window, window)
    else:
        _pool_by_matrix(graph, node, before, list(after))


def _pool_by_matrix(graph: fx.GraphModule, node: fx.Node, before: list[int], after: list[int]) -> None:
    batch, channels, *_ = node.meta["val"].shape
    matrix = pooling_matrix(before, after)
    outputs, inputs = matrix.shape
    weight = put_tensor(graph, f"{node.name}_matrix", matrix, node)
    with graph.graph.inserting_before(node):
        flat = put_call(graph, aten.reshape.default, (node.args[0], [-1, inputs]), node, [batch * channels, inputs])
        pooled = put_call(graph, aten.linear.default, (flat, weight), node, [batch * channels, outputs])
    node.target, node.args = aten.reshape.default, (pooled, [-1, channels, *after])


def pooling_matrix(before: list[int], after: list[int]) -> Tensor:
    """Adaptive average pooling of ``before`` = height, width to ``after`` as a matrix, shape ``(outputs, inputs)``."""
    pixels = torch.eye(before[0] * before[1])
    pooled = torch.nn.functional.adaptive_avg_pool2d(pixels.reshape(-1, *before), (after[0], after[1]))
    return pooled.flatten(1).T


def _pad_by_numbers(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a convolution whose padding is a word as one whose padding is numbers, behind a Pad where sides differ."""
    defaults: tuple[Any, ...] = (None, None, None, [1, 1], "valid", [1, 1], 1)
    images, weight, bias, stride, word, dilation, groups = _any(node.args) + defaults[len(node.args) :]
    kernel = weight.meta["val"].shape[2:]
    around = [step * (size - 1) if word == "same" else 0 for step, size in zip(dilation, kernel, strict=True)]
    padding = [both // 2 for both in around]
    if any(both % 2 for both in around):
        images, padding = _padded(graph, node, images, around), [0, 0]
    node.target, node.args = aten.conv2d.default, (images, weight, bias, stride, padding, dilation, groups)


def _padded(graph: fx.GraphModule, node: fx.Node, images: fx.Node, around: list[int]) -> fx.Node:
    """Images with so many rows and columns of zeros around, the odd one below and to the right, as torch has it."""
    *outer, height, width = images.meta["val"].shape
    (above, left), (below, right) = ([both // 2 for both in around], [both - both // 2 for both in around])
    shape = [*outer, height + around[0], width + around[1]]
    with graph.graph.inserting_before(node):
        return put_call(graph, aten.pad.default, (images, [left, right, above, below]), images, shape)


def _slice(graph: fx.GraphModule, node: fx.Node) -> None:
    """Write a split as slices: they pass integers on, and each is one tensor."""
    source, _, *rest = _any(node.args)
    axis, start = rest[0] if rest else 0, 0
    readers = {reader.args[1]: reader for reader in node.users}
    for which, part in enumerate(node.meta["val"]):
        if which in readers:
            readers[which].target = aten.slice.Tensor
            readers[which].args = (source, axis, start, start + part.shape[axis])
        start += part.shape[axis]
    graph.graph.erase_node(node)


def _any(arguments: Any) -> Any:
    """A node's arguments, whose types only the operator knows."""
    return arguments


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

_PLAIN: dict[Any, Callable[[fx.GraphModule, fx.Node], None]] = {
    aten.dropout.default: _pass_on,
    aten.dropout_.default: _pass_on,
    aten.feature_dropout.default: _pass_on,
    aten.contiguous.default: _pass_on,
    aten.cat.default: _concatenate,
    aten.add.Tensor: _add,
    aten.flatten.using_ints: _free_the_batch,
    aten.view.default: _free_the_batch,
    aten.reshape.default: _free_the_batch,
    aten.mean.dim: _keep_rank_while_pooling,
    aten.adaptive_avg_pool2d.default: _pool,
    aten.conv2d.padding: _pad_by_numbers,
    aten.chunk.default: _slice,
    aten.split.Tensor: _slice,
    aten.split_with_sizes.default: _slice,
}
