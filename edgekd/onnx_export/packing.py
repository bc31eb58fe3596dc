"""Few-bit weights in few bits: packed in the file, unpacked by ONNX Runtime when it opens the file.

Each byte holds several weights and is an index into a table of them, so that unpacking is a cast and two lookups whose
inputs are all constant. ONNX Runtime folds these into plain int8 weights while it makes the session: the kernels that
run are those of an int8 file.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import helper

from edgekd.onnx_export.compact import drop_constants
from edgekd.onnx_export.graph import Array, Graph, Node, add_constant, constants

LEAST_WEIGHTS = 1024
"""Of one width in a file: below, the table and the nodes are larger than what packing saves."""
WEIGHTS_AT_ONCE = 1 << 20
"""Unpacked together; bounds what a session needs for a moment beside the weights themselves."""


@dataclass(frozen=True)
class Packing:
    """How weights of one width lie in bytes.

    Args:
        limit: largest |q|.
        per_byte: weights of one byte of the first part: its digits in base ``levels``.
        levels: values that a digit has.
        sign_apart: the sign lies in a second part, eight weights a byte.
    """

    limit: int
    per_byte: int
    levels: int
    sign_apart: bool = False


PACKINGS = (
    Packing(limit=1, per_byte=5, levels=3),
    Packing(limit=3, per_byte=4, levels=4, sign_apart=True),
    Packing(limit=7, per_byte=2, levels=15),
)
"""Ternary weights five a byte (3^5 = 243), 3-bit ones eight in three bytes, 4-bit ones two a byte."""


def pack_weights(graph: Graph) -> None:
    """Pack every weight tensor whose integers fit few bits, in place; the others stay int8."""
    known = constants(graph)
    readers = [node for node in graph.node if node.op_type == "DequantizeLinear" and _is_weight(node, known)]
    for packing, found in _by_packing(readers, known):
        for number, together in enumerate(_chunks(found, known)):
            _pack(graph, packing, together, known, f"w{packing.limit}_{number}")


def _is_weight(node: Node, known: dict[str, Array]) -> bool:
    value = known.get(node.input[0])
    return value is not None and value.dtype == np.int8 and value.ndim > 1


def _by_packing(readers: Sequence[Node], known: dict[str, Array]) -> list[tuple[Packing, list[str]]]:
    """Tensors by the narrowest packing that holds them, each once however many nodes read it."""
    found: dict[Packing, list[str]] = {}
    for name in dict.fromkeys(node.input[0] for node in readers):
        largest = int(np.abs(known[name].astype(np.int32)).max(initial=0))
        packing = next((packing for packing in PACKINGS if largest <= packing.limit), None)
        if packing is not None:
            found.setdefault(packing, []).append(name)
    return [(packing, names) for packing, names in found.items() if _count(names, known) >= LEAST_WEIGHTS]


def _count(names: Sequence[str], known: dict[str, Array]) -> int:
    return sum(known[name].size for name in names)


def _chunks(names: Sequence[str], known: dict[str, Array]) -> list[list[str]]:
    """The tensors in groups that are unpacked together."""
    groups: list[list[str]] = [[]]
    for name in names:
        if groups[-1] and _count([*groups[-1], name], known) > WEIGHTS_AT_ONCE:
            groups.append([])
        groups[-1].append(name)
    return groups


def _pack(graph: Graph, packing: Packing, names: Sequence[str], known: dict[str, Array], stem: str) -> None:
    """Put one packed constant, and the nodes that unpack it, in the place of several int8 ones."""
    weights = np.concatenate([known[name].ravel() for name in names])
    unpacked, nodes = _lookup(graph, packing, weights, stem)
    flat = add_constant(graph, f"{stem}_flat", np.array([-1], np.int64))
    nodes.append(helper.make_node("Reshape", [unpacked, flat], [f"{stem}_all"]))
    sizes = [known[name].size for name in names]
    padding = _padded(weights, packing).size - weights.size
    parts = [f"{stem}_{i}" for i in range(len(names))]
    sizes_name = add_constant(graph, f"{stem}_sizes", np.array([*sizes, *([padding] if padding else [])], np.int64))
    outputs = [*parts, *([f"{stem}_rest"] if padding else [])]
    nodes.append(helper.make_node("Split", [f"{stem}_all", sizes_name], outputs, axis=0))
    shapes: dict[tuple[int, ...], str] = {}
    for name, part in zip(names, parts, strict=True):
        shape = known[name].shape
        if shape not in shapes:
            label = f"{stem}_{'x'.join(map(str, shape))}"
            shapes[shape] = add_constant(graph, label, np.array(shape, np.int64))
        nodes.append(helper.make_node("Reshape", [part, shapes[shape]], [name]))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    drop_constants(graph, names)


def _lookup(graph: Graph, packing: Packing, weights: Array, stem: str) -> tuple[str, list[Node]]:
    """Nodes after which the weights lie in one int8 tensor, in order; its name, and the nodes."""
    digits = _padded(weights, packing).astype(np.int32) + (packing.levels if packing.sign_apart else packing.limit)
    if not packing.sign_apart:
        values = np.arange(packing.levels) - packing.limit
        return _digits(graph, digits, packing.levels, packing.per_byte, values, stem)
    low, first = _digits(graph, digits % packing.levels, packing.levels, packing.per_byte, np.arange(4), f"{stem}_low")
    sign, second = _digits(graph, 1 - digits // packing.levels, 2, 8, np.array([0, -packing.levels]), f"{stem}_sign")
    flat = add_constant(graph, f"{stem}_row", np.array([-1], np.int64))
    nodes = [*first, *second]
    for part in (low, sign):
        nodes.append(helper.make_node("Reshape", [part, flat], [f"{part}_row"]))
    nodes.append(helper.make_node("BitwiseOr", [f"{low}_row", f"{sign}_row"], [f"{stem}_signed"]))
    return f"{stem}_signed", nodes


def _digits(
    graph: Graph, digits: Array, levels: int, per_byte: int, values: Array, stem: str
) -> tuple[str, list[Node]]:
    """Write digits ``per_byte`` to a byte; the table says which int8 values each byte stands for."""
    powers = levels ** np.arange(per_byte)
    packed = (digits.reshape(-1, per_byte) * powers).sum(1).astype(np.uint8)
    table = values[np.array(list(itertools.product(range(levels), repeat=per_byte)))[:, ::-1]].astype(np.int8)
    names = [_table(graph, table, f"{levels}_to_the_{per_byte}"), f"{stem}_at"]
    nodes = [
        helper.make_node("Cast", [add_constant(graph, f"{stem}_packed", packed)], [names[1]], to=6),
        helper.make_node("Gather", names, [f"{stem}_found"]),
    ]
    return f"{stem}_found", nodes


def _table(graph: Graph, table: Array, name: str) -> str:
    """The table's name; one serves all that is packed alike."""
    return name if any(tensor.name == name for tensor in graph.initializer) else add_constant(graph, name, table)


def _padded(weights: Array, packing: Packing) -> Array:
    """With zeros behind them, so that they fill whole bytes."""
    together = 8 if packing.sign_apart else packing.per_byte
    return np.pad(weights, (0, -weights.size % together))
