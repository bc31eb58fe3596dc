"""Rewrites of Pad nodes: part of the convolution or pooling behind them where that pads alike, else of integers."""

from typing import Any

import numpy as np
from onnx import helper

from edgekd.onnx_export.graph import Array, Graph, Node, constants, consumers_of, producers

Sides = tuple[int, ...]
"""Rows and columns added: above, left, below, right."""
LOWEST = float(np.finfo(np.float32).min)


def fold_pads(graph: Graph) -> None:
    """Let each Conv, AveragePool and MaxPool behind a Pad do the padding itself, at unequal sides too.

    Between the two may stand a rounding with the scale of what is padded: of numbers that are rounded so already, and
    of zeros, it changes none. A Pad that something else reads stays for that.
    """
    known, makers = constants(graph), producers(graph)
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        around, value = _around(pad, known), _value(pad, known)
        if around is None or value is None:
            continue
        for padded in (pad.output[0], *_rounded_alike(graph, pad, known, makers)):
            for reader in consumers_of(graph, padded):
                if _absorbs(reader, padded, around, value):
                    _absorb(reader, around, pad.input[0])


def integer_pads(graph: Graph) -> None:
    """Pad the integers themselves where a Pad stands between a DequantizeLinear and a QuantizeLinear alike.

    ONNX Runtime 1.32 would leave it in float.
    """
    known, makers = constants(graph), producers(graph)
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        readers = consumers_of(graph, pad.output[0])
        if not readers or not all(_rounds_alike(reader, pad, known, makers) for reader in readers):
            continue
        dequantize = makers[pad.input[0]]
        pad.input[0] = dequantize.input[0]
        if _mode(pad) == "constant":
            pad.input[2:3] = [dequantize.input[2]]  # the zero point
        _replace_readers(graph, pad, readers)


def _replace_readers(graph: Graph, pad: Node, quantizes: list[Node]) -> None:
    """Put a Pad of integers in the place of the nodes that rounded what it gave."""
    pad.output[0] = quantizes[0].output[0]
    for quantize in quantizes:
        for node in consumers_of(graph, quantize.output[0]):
            node.input[0] = pad.output[0]
        graph.node.remove(quantize)


def _around(pad: Node, known: dict[str, Array]) -> Sides | None:
    """How many rows and columns a Pad of images adds; None where it pads other axes, crops, or is not constant."""
    if pad.input[1] not in known or any(pad.input[3:]):
        return None
    begins, ends = np.split(known[pad.input[1]], 2)
    if len(begins) != 4 or begins[:2].any() or ends[:2].any() or min(begins.min(), ends.min()) < 0:
        return None
    return (*map(int, begins[2:]), *map(int, ends[2:]))


def _value(pad: Node, known: dict[str, Array]) -> float | None:
    """What a Pad adds; None where it repeats what is there, or where the number is not constant."""
    if _mode(pad) != "constant":
        return None
    if len(pad.input) < 3 or not pad.input[2]:
        return 0.0
    return float(known[pad.input[2]].item()) if pad.input[2] in known else None


def _mode(pad: Node) -> str:
    return str(_attribute(pad, "mode", b"constant").decode())


def _absorbs(reader: Node, padded: str, around: Sides, value: float) -> bool:
    """Can an operator pad what it reads by itself, and does that mean the same?"""
    if reader.input[0] != padded or not _adds(reader, value):
        return False
    if _attribute(reader, "auto_pad", b"NOTSET") != b"NOTSET" or _attribute(reader, "ceil_mode", 0):
        return False
    # ONNX Runtime refuses a pool whose window may lie in the padding alone.
    window = list(_attribute(reader, "kernel_shape", [])) * 2
    fits = (own + more < size for own, more, size in zip(_pads(reader), around, window, strict=True))
    return reader.op_type == "Conv" or all(fits)


def _adds(reader: Node, value: float) -> bool:
    """Is this what an operator's own padding adds? A convolution's is 0, a maximum's lower than any number."""
    if reader.op_type == "AveragePool":
        counted = not any(_pads(reader)) or bool(_attribute(reader, "count_include_pad", 0))
        return value == 0 and counted
    return (reader.op_type == "Conv" and value == 0) or (reader.op_type == "MaxPool" and value <= LOWEST)


def _absorb(reader: Node, around: Sides, source: str) -> None:
    _set_attribute(reader, "pads", [a + b for a, b in zip(_pads(reader), around, strict=True)])
    if reader.op_type == "AveragePool":
        _set_attribute(reader, "count_include_pad", 1)
    reader.input[0] = source


def _pads(reader: Node) -> Sides:
    return tuple(_attribute(reader, "pads", (0, 0, 0, 0)))


def _rounded_alike(graph: Graph, pad: Node, known: dict[str, Array], makers: dict[str, Node]) -> list[str]:
    """What is dequantized of a Pad's output that was rounded with the scale of its input."""
    rounds = [node for node in consumers_of(graph, pad.output[0]) if _rounds_alike(node, pad, known, makers)]
    return [back.output[0] for node in rounds for back in consumers_of(graph, node.output[0])]


def _rounds_alike(quantize: Node, pad: Node, known: dict[str, Array], makers: dict[str, Node]) -> bool:
    """Does a QuantizeLinear behind a Pad round as what is padded was rounded, and does that have what is added?"""
    source = makers.get(pad.input[0])
    if quantize.op_type != "QuantizeLinear" or source is None or source.op_type != "DequantizeLinear":
        return False
    names = (*quantize.input[1:3], *source.input[1:3])
    if not all(name in known for name in names) or (_mode(pad) == "constant" and _value(pad, known) != 0):
        return False
    return all(np.array_equal(known[one], known[other]) for one, other in zip(names[:2], names[2:], strict=True))


def _attribute(node: Node, name: str, otherwise: Any) -> Any:
    found = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return otherwise if found is None else helper.get_attribute_value(found)


def _set_attribute(node: Node, name: str, value: Any) -> None:
    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))
