"""torch-pruning's dependency graph: which channels of which layers must be removed together."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch_pruning._helpers import _HybridIndex
from torch_pruning.dependency import index_mapping, shape_infer
from torch_pruning.dependency.dependency import Dependency

from edgekd.errors import PruningError
from edgekd.pruning.cut import Cut
from edgekd.pruning.group import Group
from edgekd.zoo import RESIZABLE, ModelSpec, example_images, widths

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
"""Layers with outputs of their own."""

OPTYPE = tp.ops.OPTYPE
REARRANGING = {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.RESHAPE, OPTYPE.UNBIND, OPTYPE.EXPAND, OPTYPE.SLICE}
"""Kinds of operations behind which torch-pruning renumbers channels."""

MOVING = (
    "cat", "chunk", "flip", "index", "permute", "reshape", "roll", "select", "shuffle", "slice", "split", "transpose",
    "unbind", "unfold", "view",
)  # fmt: skip
"""Words in the names of operations that may move channels."""


class Graph(tp.DependencyGraph):  # type: ignore[misc]
    """A dependency graph that stops at operations which it cannot follow, instead of raising."""

    def _build_dependency(self, module2node: dict[Any, Any]) -> None:
        super()._build_dependency(module2node)
        self.lost: set[Any] = set()
        self.tied = _tied(self.model)
        self.widest = max(width for layer in widths(self.model).values() for width in layer.values())
        while found := [node for node in module2node.values() if node not in self.lost and not self._follows(node)]:
            for node in found:
                # torch-pruning 1.6.1 raises at an operation whose channels it cannot index. Without dependencies the
                # operation ends the walk instead, and the groups that reach it are kept.
                node.type, node.dependencies = OPTYPE.ELEMENTWISE, []
                self.lost.add(node)

    def lose(self, dep: Any) -> None:
        """Record the operation at which channels could not be followed any further."""
        self.lost.add(dep.source if dep.source.type in REARRANGING else dep.target)

    def _follows(self, node: Any) -> bool:
        alone = copy.copy(self)
        alone.module2node = {node.module: node}
        try:
            shape_infer.init_shape_information(alone)
            index_mapping.update_index_mapping(alone)
        except Exception as error:
            not_for_memory(error)
            return False
        return True


def dependency_graph(model: nn.Module, spec: ModelSpec) -> Graph:
    """The graph of a model in eval mode, whose parameters require gradients.

    Raises:
        PruningError: the network cannot be traced.
    """
    try:
        # torch-pruning warns of what it cannot follow; such groups are kept, with a reason.
        with torch.enable_grad(), warnings.catch_warnings(action="ignore"):
            graph: Graph = Graph().build_dependency(model, example_inputs=example_images(spec))
    # torch-pruning 1.6.1 has no errors of its own: shufflenet_v2_x1_0, for one, ends in a bare ZeroDivisionError.
    except Exception as error:
        not_for_memory(error)
        problem = f"torch-pruning cannot follow its channels from layer to layer ({first_line(error)})"
        raise PruningError(spec.name, problem, "leave the prune stage out") from None
    return graph


def find_groups(graph: Graph, heads: Sequence[nn.Module]) -> Iterator[Group]:
    """Every group but the heads', with scores of 1; a group that cannot be followed says why it is kept."""
    seen: set[nn.Module] = set()
    for root in list(graph.module2node):
        if not isinstance(root, Layer) or root in seen or root in heads:
            continue
        found, outputs = _followed(graph, root)
        if not set(heads) & set(outputs):
            yield _first_owner(found, {graph._module2name[layer] for layer in seen})
        seen |= {layer for layer in outputs if isinstance(layer, Layer)}


def _followed(graph: Graph, root: Layer) -> tuple[Group, list[nn.Module]]:
    """The group of a layer's outputs, and all layers that share them as outputs."""
    channels = outputs_of(root)
    items = _reached(graph, root, range(channels))
    outputs = [dep.target.module for dep, _ in items if graph.is_out_channel_pruning_fn(dep.handler)]
    layers = tuple(dict.fromkeys(graph._module2name[layer] for layer in outputs if isinstance(layer, Layer)))
    kind = "|".join(f"{type(dep.target.module).__name__}:{dep.handler.__name__}" for dep, _ in items)
    nodes = [dep.target for dep, _ in items]
    kept = lost_in(nodes) if graph.lost.intersection(nodes) else _kept_because(graph, [node.module for node in nodes])
    return Group(layers, channels, torch.ones(channels), kind, kept), outputs


def _first_owner(group: Group, owned: set[str]) -> Group:
    """The group; kept if some of its layers belong to another group."""
    free = tuple(layer for layer in group.layers if layer not in owned)
    if free == group.layers:
        return group
    return replace(group, layers=free, kept_because=group.kept_because or "kept: another group has some of its layers")


def _reached(graph: Graph, root: Layer, channels: Iterable[int]) -> Any:
    """Everything that must go with these outputs of a layer: dependencies with channel indices.

    Each channel of each layer is visited once. torch-pruning's own walk visits it again on every path, of which a
    network with shifted windows has millions.
    """
    fn, node = graph.get_pruner_of_module(root).prune_out_channels, graph.module2node[root]
    start = {number: _HybridIndex(number, number) for number in channels}
    found = {(node, fn): (Dependency(fn, fn, node, node), start)}
    walk = [(node, fn, list(start.values()))]
    while walk:
        node, fn, numbers = walk.pop()
        for dep in [dep for dep in node.dependencies if dep.is_triggered_by(fn)]:
            _, held = found.get((dep.target, dep.handler), (dep, {}))
            fresh = {number.idx: number for number in _mapped(graph, dep, numbers) if number.idx not in held}
            if fresh or dep.target in graph.lost:
                found[dep.target, dep.handler] = (dep, held | fresh)
            if fresh:
                walk.append((dep.target, dep.handler, list(fresh.values())))
    return _as_group(found.values())


def _mapped(graph: Graph, dep: Any, numbers: list[Any]) -> list[Any]:
    """The indices of channels behind a dependency; empty if they cannot be followed across it."""
    try:
        for mapping in dep.index_mapping:
            numbers = numbers if mapping is None else mapping(numbers)
    # torch-pruning's mappings may raise anything.
    except Exception as error:
        not_for_memory(error)
        numbers = []
        graph.lose(dep)
    # No layer is that wide: a mapping went wrong without raising.
    if any(number.idx >= graph.widest for number in numbers):
        numbers = []
        graph.lose(dep)
    return numbers


def _as_group(found: Iterable[tuple[Any, dict[int, Any]]]) -> Any:
    """Dependencies and channels as a torch-pruning group, for its importance measures."""
    group = tp.dependency.Group()
    for dep, held in found:
        group.add_dep(dep, list(held))
        group[-1].root_idxs = [number.root_idx for number in held.values()]
    return group


def outputs_of(layer: nn.Module) -> int:
    """Number of a layer's output channels."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _kept_because(graph: Graph, sharing: list[nn.Module | nn.Parameter]) -> str:
    """Why channels are kept, given everything whose size depends on them; empty if they may go."""
    if any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and _grouped(m) for m in sharing):
        return "kept: a grouped convolution"
    if graph.tied.intersection(sharing):
        return "kept: weights that two layers have in common"
    fixed = {type(m).__name__ for m in sharing if not _resizable(m) and _has_size(m)}
    return f"kept: channels that a {' and a '.join(sorted(fixed))} shares" if fixed else ""


def _tied(model: nn.Module) -> set[nn.Module]:
    """Layers that share a parameter with another one."""
    of = {layer: {id(parameter) for parameter in layer.parameters(recurse=False)} for layer in model.modules()}
    count = Counter(number for numbers in of.values() for number in numbers)
    return {layer for layer, numbers in of.items() if any(count[number] > 1 for number in numbers)}


def _resizable(layer: nn.Module | nn.Parameter) -> bool:
    return isinstance(layer, RESIZABLE) and not is_parametrized(layer)


def _grouped(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Is it a grouped convolution that is not depthwise?"""
    return layer.groups > 1 and not layer.groups == layer.in_channels == layer.out_channels


def _has_size(layer: nn.Module | nn.Parameter) -> bool:
    return isinstance(layer, nn.Parameter) or any(True for _ in layer.parameters())


def cut_of(graph: Graph, group: Group, channels: Sequence[int]) -> Cut:
    """The cut that removes these channels of a group.

    Raises:
        PruningError: other channels of the group would have to go as well.
    """
    root = graph.model.get_submodule(group.layers[0])
    outputs, inputs = dict[str, frozenset[int]](), dict[str, frozenset[int]]()
    for dep, numbers in _reached(graph, root, channels):
        layer = dep.target.module
        if isinstance(layer, RESIZABLE):
            name = graph._module2name[layer]
            for side, belongs in ((outputs, graph.is_out_channel_pruning_fn), (inputs, graph.is_in_channel_pruning_fn)):
                if belongs(dep.handler):
                    side[name] = side.get(name, frozenset()) | frozenset(numbers)
    gone = len(outputs[group.layers[0]])
    if gone != len(channels):
        found = f"{gone} channels go where {len(channels)} were planned"
        raise PruningError(group.layers[0], found, "leave the prune stage out")
    return Cut(outputs, inputs)


def lost_in(nodes: Iterable[Any]) -> str:
    """Why channels are kept that cannot be followed through these nodes: the operations that may move them."""
    names = {type(node.grad_fn).__name__.split("Backward")[0] for node in nodes if not isinstance(node.module, Layer)}
    moving = sorted(name for name in names if any(word in name.lower() for word in MOVING))
    if moving:
        return f"kept: channels that cannot be followed through {' and '.join(moving)}"
    return "kept: more depends on these channels than the layers that read them"


def all_of(graph: Graph, group: Group) -> Any:
    """All channels and dependencies of a group, for torch-pruning's importance measures."""
    return _reached(graph, graph.model.get_submodule(group.layers[0]), range(group.channels))


def not_for_memory(error: Exception) -> None:
    """Raise MemoryError if that is what an error is: else what can be pruned would depend on what else runs here."""
    # torch's allocator on the CPU has no error class of its own.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        raise MemoryError(first_line(error)) from None


def first_line(error: Exception) -> str:
    """Class and first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
