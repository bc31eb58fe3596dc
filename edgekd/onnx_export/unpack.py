"""A file as ONNX Runtime sees it once its constants are computed: int8 weights, 32-bit scales and biases."""

from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekd.onnx_export.graph import Graph, Node


def unpacked(path: Path) -> Any:
    """The model of a file in which every value that depends on constants alone is a constant, but for real weights.

    By onnx's own reference implementation, so that what is audited does not rest on what ONNX Runtime makes of it.
    """
    model = onnx.load(path)
    graph = model.graph
    nodes = _constant_nodes(graph)
    if not nodes:
        return model
    computed = [name for node in nodes for name in node.output]
    elsewhere = [node for node in graph.node if node.output[0] not in computed]
    read_elsewhere = {name for node in elsewhere for name in node.input}
    names = [name for name in computed if name in read_elsewhere]
    wanted = [helper.make_empty_tensor_value_info(name) for name in names]
    alone = helper.make_graph(nodes, "constants", [], wanted, list(graph.initializer))
    found = ReferenceEvaluator(helper.make_model(alone, opset_imports=list(model.opset_import))).run(None, {})
    for node in nodes:
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in zip(names, found, strict=True))
    return model


def _constant_nodes(graph: Graph) -> list[Node]:
    """Nodes that read nothing but constants and what was computed of them, in order; none that makes weights real."""
    known = {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" and known.issuperset(name for name in node.input if name):
            found.append(node)
            known.update(node.output)
    return found
