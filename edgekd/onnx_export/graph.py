"""Reading and changing an ONNX graph."""

from typing import Any, TypeAlias

import numpy as np
from onnx import numpy_helper

from edgekd.errors import ExportError

Node: TypeAlias = Any
Graph: TypeAlias = Any
Array: TypeAlias = np.ndarray[Any, Any]

INPUT, OUTPUT, IMAGES = "pixels", "logits", "images"
LEVELS = "levels"
"""What a file makes of numbers that are no pixels."""


def is_quantized(graph: Graph) -> bool:
    """Does a graph compute with integers?"""
    return any(node.op_type == "QuantizeLinear" and node.output[0] != LEVELS for node in graph.node)


def consumers_of(graph: Graph, name: str) -> list[Node]:
    """Nodes that read a value."""
    return [node for node in graph.node if name in node.input]


def producers(graph: Graph) -> dict[str, Node]:
    """The node that computes each value."""
    return {name: node for node in graph.node for name in node.output}


def constants(graph: Graph) -> dict[str, Array]:
    """Every constant by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def add_constant(graph: Graph, name: str, value: Array) -> str:
    """Add a constant and return its name."""
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def rename(graph: Graph, old: str, new: str) -> None:
    """Make all nodes that read ``old`` read ``new``."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
    for output in graph.output:
        if output.name == old:
            raise ExportError(old, "the output is the input", "report the network")
