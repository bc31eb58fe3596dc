"""The file that a network would have at other widths, cut out of the one that it has: the same nodes, fewer numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgekd.errors import ExportError
from edgekd.onnx_export.graph import IMAGES, Array, Graph, Node, add_constant, constants, producers

WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")
EACH_BY_ITSELF = (
    "Add", "AveragePool", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Gelu", "GlobalAveragePool",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul", "Pad", "QuantizeLinear", "ReduceMean",
    "Relu", "Sigmoid", "Sub", "Tanh",
)  # fmt: skip
"""Operators that treat each channel by itself, so that as many come out as go in."""


@dataclass(frozen=True)
class Template:
    """An exported file before it is packed.

    Args:
        model: the file, without its constants.
        constants: by name.
        layers: the layer of each node with weights, in the order of the nodes.
        shapes: of every value; 0 for a free size.
    """

    model: Any
    constants: Mapping[str, Array]
    layers: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sliced:
    """A file at other widths.

    Args:
        model: the file.
        nodes: those with weights, in order.
    """

    model: Any
    nodes: tuple["Weighted", ...]


@dataclass(frozen=True)
class Weighted:
    """What a node with weights does for one image.

    Args:
        inputs: channels that each output reads.
        outputs: channels.
        places: pixels of the output.
        weights: numbers.
    """

    inputs: int
    outputs: int
    places: int
    weights: int


def template_of(model: Any, layers: Sequence[str]) -> Template:
    """A template of a file whose layers are known, by name in the order of the forward pass.

    Raises:
        ExportError: the file has another number of nodes with weights.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    shapes = {value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim) for value in values}
    empty = onnx.ModelProto()
    empty.CopyFrom(model)
    del empty.graph.initializer[:]
    found = Template(empty, constants(model.graph), tuple(layers), shapes)
    count = sum(_reads_images(node, found) for node in model.graph.node if node.op_type in WEIGHTED)
    if count != len(layers):
        raise _lost(f"the file has {count} nodes with weights, the network {len(layers)} layers")
    return found


def sliced(template: Template, outputs: Mapping[str, int]) -> Sliced:
    """The file in which layers have other numbers of outputs; each keeps its first ones.

    Args:
        template: of the whole network.
        outputs: of layers by name; the others keep theirs.

    Raises:
        ExportError: an operator cannot be followed at other widths.
    """
    model = onnx.ModelProto()
    model.CopyFrom(template.model)
    slicer = _Slicer(model.graph, template, outputs)
    return Sliced(model, tuple(slicer.run()))


def _reads_images(node: Node, template: Template) -> bool:
    """Do images reach a node? Their batch is free, and everything else has constant sizes."""
    return any(template.shapes.get(name, (1,))[:1] == (0,) for name in node.input)


def _lost(found: str) -> ExportError:
    return ExportError("widths", f"no file of other widths can be made: {found}", "give pruning_ratio")


class _Slicer:
    """Goes through the nodes once and narrows what each reads to what its inputs have become.

    Args:
        graph: changed in place.
        template: that the graph is a copy of.
        outputs: of layers by name.
    """

    def __init__(self, graph: Graph, template: Template, outputs: Mapping[str, int]) -> None:
        self._graph, self._template, self._outputs = graph, template, outputs
        self._known, self._makers = dict(template.constants), producers(graph)
        self._widths: dict[str, int] = {}

    def run(self) -> list[Weighted]:
        """Narrow everything; what each node with weights does."""
        layers, found = iter(self._template.layers), list[Weighted]()
        for node in self._graph.node:
            if not _reads_images(node, self._template) or node.output[0] == IMAGES:
                continue
            if node.op_type in WEIGHTED:
                found.append(self._weighted(node, next(layers)))
            else:
                self._widths[node.output[0]] = self._plain(node)
        for name in dict.fromkeys(name for node in self._graph.node for name in node.input if name in self._known):
            add_constant(self._graph, name, np.array(self._known[name], order="C"))
        return found

    def _before(self, value: str) -> int:
        """Channels of a value in the template; features of what lies flat."""
        shape = self._template.shapes[value]
        return shape[1] if len(shape) > 1 else 0

    def _after(self, value: str) -> int:
        return self._widths.get(value, self._before(value))

    def _changed(self, node: Node) -> bool:
        return any(self._after(name) != self._before(name) for name in node.input if name in self._template.shapes)

    def _weighted(self, node: Node, layer: str) -> Weighted:
        source, result = node.input[0], node.output[0]
        inputs, outputs = (self._before(source), self._after(source)), self._before(result)
        groups = next((attribute for attribute in node.attribute if attribute.name == "group"), None)
        after = self._outputs.get(layer, outputs)
        if groups is not None and groups.i > 1:
            if groups.i != inputs[0] and (inputs[0] != inputs[1] or after != outputs):
                raise _lost(f"{layer} is a grouped convolution")
            # Depthwise: as many outputs for each input as before.
            after = outputs * inputs[1] // inputs[0]
            groups.i = groups.i * inputs[1] // inputs[0]
            inputs = (1, 1)
        self._widths[result] = after
        axes = _axes(node)
        self._prepare(node, 1, {axes[0]: (outputs, after), axes[1]: inputs}, (outputs, after))
        if len(node.input) > 2:
            self._prepare(node, 2, {}, (outputs, after))
        places = int(np.prod(self._template.shapes[result][2:]))
        return Weighted(inputs[1], after, places, self._weights(node.input[1]))

    def _weights(self, value: str) -> int:
        """How many numbers the weights of a layer are."""
        while value not in self._known:
            value = self._makers[value].input[0]
        return int(self._known[value].size)

    def _prepare(self, node: Node, index: int, axes: Mapping[int, tuple[int, int]], vector: tuple[int, int]) -> None:
        """Narrow what a node reads, through the nodes that make it of constants.

        Args:
            node: the reader.
            index: which input.
            axes: of a tensor of several axes, each with its size before and after.
            vector: size of a vector before and after.
        """
        value = node.input[index] if index < len(node.input) else ""
        if value in self._known:
            node.input[index] = self._narrowed(value, axes if self._known[value].ndim > 1 else {0: vector})
        elif self._is_prepared(value):
            maker = self._makers[value]
            for number in range(len(maker.input)):
                self._prepare(maker, number, axes, vector)

    def _is_prepared(self, value: str) -> bool:
        """Is a value made of constants alone?"""
        return value in self._makers and self._template.shapes.get(value, (1,))[:1] != (0,)

    def _narrowed(self, name: str, axes: Mapping[int, tuple[int, int]]) -> str:
        """A constant of the first numbers along some axes; a new one, since others may read the whole."""
        value = self._known[name]
        keep = [slice(None)] * value.ndim
        for axis, (before, after) in axes.items():
            if value.ndim > axis and value.shape[axis] == before:
                keep[axis] = slice(after)
        fewer = value[tuple(keep)]
        return name if fewer.shape == value.shape else self._constant(name, fewer)

    def _constant(self, name: str, value: Array) -> str:
        """A changed constant under a name of its own: another node may read the whole one."""
        changed = f"{name}/{'x'.join(map(str, value.shape))}/{value.tolist() if value.dtype == np.int64 else ''}"
        self._known.setdefault(changed, value)
        return changed

    def _plain(self, node: Node) -> int:
        """Channels that come out of a node without weights."""
        if not self._changed(node):
            return self._before(node.output[0])
        source = next(name for name in node.input if name in self._template.shapes)
        if node.op_type == "Concat" and _attribute(node, "axis") == 1:
            return sum(self._after(name) for name in node.input)
        if node.op_type == "Reshape":
            return self._reshaped(node, source)
        if node.op_type in EACH_BY_ITSELF:
            return self._by_channel(node)
        raise _lost(f"channels cannot be followed through {node.op_type}")

    def _reshaped(self, node: Node, source: str) -> int:
        before, after = self._before(source), self._after(source)
        sizes = self._known[node.input[1]]
        if sizes.size < 2 or sizes[1] % before:
            raise _lost("channels cannot be followed through Reshape")
        found = sizes.copy()
        found[1] = sizes[1] // before * after
        node.input[1] = self._constant(node.input[1], found)
        return int(found[1])

    def _by_channel(self, node: Node) -> int:
        active = [name for name in node.input if name in self._template.shapes and self._before(name) > 1]
        widths = {(self._before(name), self._after(name)) for name in active}
        if len(widths) != 1:
            raise _lost(f"{node.op_type} joins channels of different numbers")
        ((before, after),) = widths
        for index, name in enumerate(node.input):
            if name in self._known:
                axis = self._known[name].ndim - 3
                node.input[index] = self._narrowed(name, {max(axis, 0): (before, after)} if axis >= 0 else {})
        return after


def _axes(node: Node) -> tuple[int, int]:
    """The axes of a weight: outputs, inputs."""
    if node.op_type in ("Conv",) or _attribute(node, "transB"):
        return 0, 1
    return 1, 0


def _attribute(node: Node, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)
