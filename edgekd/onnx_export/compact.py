"""What an integer file holds beside its weights, in fewer bytes; no answer changes.

ONNX Runtime folds what is computed of constants while it makes the session: a scale that is a product of two others, or
numbers that are kept in 16 bits, cost bytes in the file and nothing when it runs.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from onnx import helper

from edgekd.onnx_export.graph import INPUT, OUTPUT, Array, Graph, add_constant, constants

Type: TypeAlias = np.dtype[Any]


def in_16_bits(graph: Graph) -> None:
    """Keep float32 and int32 vectors of constants in 16 bits where every number of a vector stays what it is."""
    _narrowed(graph, np.dtype("float32"), np.dtype("float16"), "scales")
    _narrowed(graph, np.dtype("int32"), np.dtype("int16"), "biases")


def _narrowed(graph: Graph, wide: Type, narrow: Type, stem: str) -> None:
    """One constant of the narrow type, widened and split by two nodes, in the place of all vectors that fit."""
    known = constants(graph)
    fitting = [name for name, value in known.items() if value.dtype == wide and value.ndim == 1 and value.size > 1]
    fitting = [name for name in fitting if _survives(known[name], narrow)]
    if len(fitting) < 2:
        return
    together = np.concatenate([known[name] for name in fitting]).astype(narrow)
    sizes = np.array([known[name].size for name in fitting], np.int64)
    stored, lengths = add_constant(graph, f"{stem}_16", together), add_constant(graph, f"{stem}_sizes", sizes)
    graph.node.insert(0, helper.make_node("Cast", [stored], [f"{stem}_all"], to=helper.np_dtype_to_tensor_dtype(wide)))
    graph.node.insert(1, helper.make_node("Split", [f"{stem}_all", lengths], fitting, axis=0))
    drop_constants(graph, fitting)


def _survives(value: Array, narrow: Type) -> bool:
    with np.errstate(over="ignore"):
        return bool((value.astype(narrow).astype(value.dtype) == value).all())


def drop_constants(graph: Graph, names: Sequence[str]) -> None:
    """Remove constants by name."""
    gone = set(names)
    for tensor in [tensor for tensor in graph.initializer if tensor.name in gone]:
        graph.initializer.remove(tensor)


def short_names(graph: Graph) -> None:
    """Name values by numbers, and no node that only rounds: names are a tenth of a small file.

    What is dequantized of an activation keeps its name, by which a file's tensors are held against torch's, and so do
    the nodes that ONNX Runtime may leave in float.
    """
    keeps = {INPUT, OUTPUT} | {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    numbers: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        return name if name in keeps else numbers.setdefault(name, _in_base_36(len(numbers)))

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        _renamed(node.input, short)
        _renamed(node.output, short)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Mul", "Reshape"):
            node.name = ""


def _renamed(names: list[str], new: Callable[[str], str]) -> None:
    for i, name in enumerate(names):
        names[i] = new(name)


def _in_base_36(number: int) -> str:
    """
    >>> _in_base_36(35), _in_base_36(36)
    ('z', '10')
    """
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number] if number < 36 else _in_base_36(number // 36) + digits[number % 36]
