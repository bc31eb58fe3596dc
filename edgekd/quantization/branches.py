"""Parallel branches that are one convolution: RepVGG, MobileOne and their like are trained so, and run merged."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from edgekd.quantization.batchnorm import CONVOLUTIONS
from edgekd.quantization.graph import put_call, set_tensor, tensor_at

aten = torch.ops.aten
SUMS = {aten.add.Tensor: 1.0, aten.sub.Tensor: -1.0}
"""With the sign of the second operand."""


class Steps(NamedTuple):
    """How a convolution goes over its images: height and width each."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Branch:
    """What a branch makes of its source: a convolution of it, plus each channel times a number, plus a number.

    Args:
        scale: of each output channel, which reads the input channel of the same number; shape ``(outputs,)``.
        shift: shape ``(outputs,)``.
        weight: shape ``(outputs, inputs / groups, height, width)``; None: nothing is convolved.
        steps: of the convolution.
    """

    scale: Tensor
    shift: Tensor
    weight: Tensor | None = None
    steps: Steps | None = None

    def times(self, factor: Tensor | float) -> "Branch":
        """Each output channel multiplied by a number of its own."""
        factor = torch.as_tensor(factor, dtype=torch.double) * torch.ones_like(self.scale)
        weight = None if self.weight is None else self.weight * factor.reshape(-1, 1, 1, 1)
        return replace(self, scale=self.scale * factor, shift=self.shift * factor, weight=weight)


def merge_branches(graph: fx.GraphModule) -> None:
    """Write sums of convolutions of the same images as one convolution, in place; answers stay, up to rounding.

    A branch may be a convolution, a batch norm, the images themselves, scaled or not, and sums of those.

    Args:
        graph: captured for inference.

    Source: Ding et al. (2021), section 3.3 (RepVGG).
    """
    for node in reversed(list(graph.graph.nodes)):
        if node.target in SUMS and node.users:
            _merge(graph, node)
    graph.recompile()
    graph.delete_all_unused_submodules()


def _merge(graph: fx.GraphModule, root: fx.Node) -> None:
    convolutions, others = _ends(root)
    sources: set[Any] = {conv.args[0] for conv in convolutions} | set(others)
    if not convolutions or len(convolutions) + len(others) < 2 or len(sources) != 1:
        return
    if any(len(conv.args[1].users) > 1 for conv in convolutions):  # type: ignore[union-attr]
        return  # other layers share its weights
    (source,) = sources
    found = _branch(graph, root, source)
    one = None if found is None else _as_convolution(found)
    if one is not None and one.weight is not None and one.steps is not None:
        _replace(graph, root, max(convolutions, key=_window), source, one.weight, one.shift, one.steps)


def _window(conv: fx.Node) -> int:
    weight: Any = conv.args[1]
    return int(weight.meta["val"].shape[2:].numel())


def _ends(root: fx.Node) -> tuple[list[fx.Node], list[fx.Node]]:
    """Where a sum begins: convolutions, and whatever else its branches read."""
    convolutions, others, open_nodes = list[fx.Node](), list[fx.Node](), [root]
    while open_nodes:
        node = open_nodes.pop()
        operands = _operands(node) if node is root or len(node.users) == 1 else ()
        open_nodes += operands
        if not operands:
            (convolutions if _is_own_convolution(node) else others).append(node)
    return convolutions, others


def _is_own_convolution(node: fx.Node) -> bool:
    return node.target in CONVOLUTIONS and len(node.users) == 1 and _read(node.args[1]) is not None


def _operands(node: fx.Node) -> tuple[fx.Node, ...]:
    """What of an operator's inputs it adds up, or multiplies channel by channel; nothing for other operators."""
    if node.target in SUMS and not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args):
        first, second = node.args[:2]
        same = _shape(first) == _shape(second) == _shape(node)
        return (first, second) if same else ()  # type: ignore[return-value]
    if node.target == aten.batch_norm.default and len(_shape(node)) == 4:
        return (node.args[0],)  # type: ignore[return-value]
    scaled = _scaled(node)
    return () if scaled is None else (scaled[0],)


def _shape(node: Any) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape) if "val" in node.meta else ()


def _scaled(node: fx.Node) -> tuple[fx.Node, Any] | None:
    """A product with a number, or with a constant of a number for each channel: what is multiplied, and with what."""
    if node.target != aten.mul.Tensor or len(_shape(node)) != 4:
        return None
    for this, other in (node.args[:2], node.args[1::-1]):
        if isinstance(this, fx.Node) and (isinstance(other, int | float) or _is_of_channels(other, node)):
            return this, other
    return None


def _is_of_channels(constant: Any, like: fx.Node) -> bool:
    if _read(constant) is None:
        return False
    shape = _shape(constant)
    return len(shape) in (3, 4) and shape[-3:] == (_shape(like)[1], 1, 1) and shape[:-3] in ((), (1,))


def _read(node: Any) -> str | None:
    """The name of the tensor that a node reads."""
    return str(node.target) if isinstance(node, fx.Node) and node.op == "get_attr" else None


def _branch(graph: fx.GraphModule, node: fx.Node, source: fx.Node) -> Branch | None:
    """What a node makes of the source; None where the windows of its convolutions do not lie in one."""
    if node is source:
        ones = torch.ones(int(_shape(node)[1]), dtype=torch.double)
        return Branch(ones, torch.zeros_like(ones))
    if node.target in CONVOLUTIONS:
        return _convolved(graph, node)
    parts = [_branch(graph, operand, source) for operand in _operands(node)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if node.target in SUMS:
        return _sum(known[0], known[1].times(SUMS[node.target]))
    if node.target == aten.batch_norm.default:
        return _normed(graph, node, known[0])
    scaled = _scaled(node)
    assert scaled is not None
    factor = scaled[1] if isinstance(scaled[1], int | float) else _double(graph, scaled[1]).flatten()
    return known[0].times(factor)


def _double(graph: fx.GraphModule, node: Any) -> Tensor:
    value = tensor_at(graph, node)
    assert value is not None
    return value.detach().double()


def _convolved(graph: fx.GraphModule, node: fx.Node) -> Branch:
    defaults: tuple[Any, ...] = (None, None, None, (1, 1), (0, 0), (1, 1), 1)
    _, weight, bias, stride, padding, dilation, groups = node.args + defaults[len(node.args) :]
    kernel = _double(graph, weight)
    none = kernel.new_zeros(len(kernel))
    shift = none if bias is None else _double(graph, bias)
    return Branch(none, shift, kernel, Steps(_pair(stride), _pair(padding), _pair(dilation), groups))


def _pair(sizes: Any) -> tuple[int, int]:
    """Height and width; one number stands for both."""
    return (sizes[0], sizes[-1])


def _normed(graph: fx.GraphModule, node: fx.Node, before: Branch) -> Branch:
    gamma, beta, mean, variance = node.args[1:5]
    epsilon: Any = node.args[7]
    factor = (_double(graph, variance) + epsilon).rsqrt()
    factor = factor if gamma is None else factor * _double(graph, gamma)
    found = replace(before, shift=before.shift - _double(graph, mean)).times(factor)
    return found if beta is None else replace(found, shift=found.shift + _double(graph, beta))


def _sum(one: Branch, other: Branch) -> Branch | None:
    scale, shift = one.scale + other.scale, one.shift + other.shift
    if one.weight is None or other.weight is None:
        convolved = other if one.weight is None else one
        return replace(convolved, scale=scale, shift=shift)
    large, small = sorted((one, other), key=_area, reverse=True)
    inside = _embedded(small, large)
    if inside is None or large.weight is None:
        return None
    return Branch(scale, shift, large.weight + inside, large.steps)


def _area(branch: Branch) -> int:
    return 0 if branch.weight is None else branch.weight.shape[2:].numel()


def _embedded(small: Branch, large: Branch) -> Tensor | None:
    """A kernel in the window of a larger one; None where it sees what that one does not."""
    a, b = small.steps, large.steps
    if a is None or b is None or small.weight is None or large.weight is None:
        return None
    if a.stride != b.stride or small.weight.shape[:2] != large.weight.shape[:2]:
        return None
    places = []
    for axis in range(2):
        count, window = small.weight.shape[2 + axis], large.weight.shape[2 + axis]
        first, off_grid = divmod(b.padding[axis] - a.padding[axis], b.dilation[axis])
        step = a.dilation[axis] // b.dilation[axis] if count > 1 else 1
        uneven = count > 1 and a.dilation[axis] % b.dilation[axis]
        if off_grid or uneven or first < 0 or first + step * (count - 1) >= window:
            return None
        places.append(slice(first, first + step * (count - 1) + 1, step))
    found = torch.zeros_like(large.weight)
    found[:, :, places[0], places[1]] = small.weight
    return found


def _as_convolution(branch: Branch) -> Branch | None:
    """The channels' own factors as a part of the kernel; None where the window does not hold the pixel itself."""
    if branch.weight is None or branch.steps is None or not branch.scale.any():
        return branch
    outputs, inputs = branch.weight.shape[:2]
    if outputs != inputs * branch.steps.groups:
        return None
    alone = torch.zeros(outputs, inputs, 1, 1, dtype=torch.double)
    alone[torch.arange(outputs), torch.arange(outputs) % inputs, 0, 0] = branch.scale
    pixel = Branch(
        torch.zeros_like(branch.scale), torch.zeros_like(branch.shift), alone, _ONE._replace(groups=branch.steps.groups)
    )
    inside = _embedded(pixel, branch)
    if inside is None:
        return None
    return replace(branch, scale=torch.zeros_like(branch.scale), weight=branch.weight + inside)


_ONE = Steps((1, 1), (0, 0), (1, 1), 1)
"""A window of one pixel."""


def _replace(
    graph: fx.GraphModule, root: fx.Node, conv: fx.Node, source: fx.Node, weight: Tensor, bias: Tensor, steps: Steps
) -> None:
    """Put one convolution in the place of a sum; it has the name of the largest one among the branches."""
    kept = _read(conv.args[1])
    assert kept is not None
    set_tensor(graph, kept, nn.Parameter(weight.float()))
    bias_name = f"{kept.rpartition('.')[0]}.merged_bias".lstrip(".")
    set_tensor(graph, bias_name, nn.Parameter(bias.float()))
    with graph.graph.inserting_before(root):
        weight_node, bias_node = graph.graph.get_attr(kept), graph.graph.get_attr(bias_name)
        weight_node.meta["val"], bias_node.meta["val"] = weight.float(), bias.float()
        args = (source, weight_node, bias_node, *map(list, steps[:3]), steps.groups)
        merged = put_call(graph, aten.conv2d.default, args, root)
    root.replace_all_uses_with(merged)
    # Now: sums inside this one must not be merged once more.
    graph.graph.eliminate_dead_code()
