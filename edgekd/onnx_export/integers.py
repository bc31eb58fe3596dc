"""Graph rewrites without which ONNX Runtime would not fuse an exported graph into integer kernels; answers stay."""

import numpy as np
from onnx import helper

from edgekd.onnx_export.graph import Array, Graph, Node, add_constant, constants, consumers_of, producers


def pool_globally(graph: Graph) -> None:
    """Replace a mean over height and width by GlobalAveragePool, for which ONNX Runtime has an integer kernel."""
    known = constants(graph)
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in known:
            continue
        axes = sorted(int(axis) for axis in known[node.input[1]].ravel())
        # A missing keepdims means 1.
        keeps = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and axes in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def absorb_factors(graph: Graph) -> None:
    """Fold a positive constant factor of a dequantized value into its scale."""
    known, makers = constants(graph), producers(graph)
    for node in graph.node:
        found = _with_scalar(node, known) if node.op_type == "Mul" else None
        source = makers.get(found[0]) if found else None
        # A scale must be positive.
        if found and source is not None and _dequantizes(source, known) and found[1] > 0:
            scale = (known[source.input[1]] * found[1]).astype(np.float32)
            # The Mul becomes a second DequantizeLinear of the same integers, because the first may have other readers.
            node.op_type = "DequantizeLinear"
            node.input[:] = [source.input[0], add_constant(graph, f"{node.output[0]}_scale", scale), source.input[2]]


def integer_scalars(graph: Graph) -> None:
    """Quantize a constant operand of an integer Add or Mul with a scale that represents it exactly."""
    known, makers = constants(graph), producers(graph)
    for node in list(graph.node):
        found = _with_scalar(node, known) if node.op_type in ("Add", "Mul") else None
        source = makers.get(found[0]) if found else None
        if found and source is not None and source.op_type == "DequantizeLinear":
            real = _dequantized_scalar(graph, node, found[1])
            node.input[:] = [found[0], real]


def _with_scalar(node: Node, known: dict[str, Array]) -> tuple[str, float] | None:
    """The variable operand of a node with two operands and the constant number that is the other."""
    if len(node.input) != 2:
        return None
    for one, other in (tuple(node.input), tuple(reversed(node.input))):
        if other in known and one not in known and known[other].size == 1:
            return one, float(known[other].item())
    return None


def _dequantized_scalar(graph: Graph, reader: Node, value: float) -> str:
    """A number as 1 or -1 times its magnitude, which is the scale: exact for any number."""
    stem = f"{reader.output[0]}_number"
    names = [
        add_constant(graph, f"{stem}_quantized", np.array(int(value > 0), np.uint8)),
        add_constant(graph, f"{stem}_scale", np.array(abs(value) or 1.0, np.float32)),
        add_constant(graph, f"{stem}_zero_point", np.array(int(value < 0), np.uint8)),
    ]
    node = helper.make_node("DequantizeLinear", names, [stem], stem)
    graph.node.insert(list(graph.node).index(reader), node)
    return stem


def drop_vain_clips(graph: Graph) -> None:
    """Remove a redundant Relu or Clip: one whose bounds the following QuantizeLinear clips to anyway.

    ONNX Runtime does so too, except where a bound lies up to half a rounding step inside the range.
    """
    known, makers = constants(graph), producers(graph)
    for node in list(graph.node):
        if node.op_type not in ("Relu", "Clip") or node.input[0] not in makers:
            continue
        readers = consumers_of(graph, node.output[0])
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" and _is_vain(node, readers[0], known):
            readers[0].input[0] = node.input[0]
            graph.node.remove(node)


def _is_vain(clip: Node, quantize: Node, known: dict[str, Array]) -> bool:
    scale, zero = (known[name].astype(np.float64) for name in quantize.input[1:3])
    low, high = (0.0, np.inf) if clip.op_type == "Relu" else _bounds(clip, known)
    return bool(np.round(low / scale) + zero <= 0 and np.round(high / scale) + zero >= 255)


def _bounds(clip: Node, known: dict[str, Array]) -> tuple[float, float]:
    low, high = (clip.input[i] if i < len(clip.input) else "" for i in (1, 2))
    return (float(known[low]) if low else -np.inf), (float(known[high]) if high else np.inf)


def integer_bias(graph: Graph) -> None:
    """Store the bias of every integer Conv and Gemm as int32, with the scale of its products."""
    known, makers = constants(graph), producers(graph)
    for node in list(graph.node):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in known:
            continue
        sources = [makers[name] for name in node.input[:2] if name in makers and _dequantizes(makers[name], known)]
        # ONNX Runtime 1.32 rounds a float bias of a Conv by itself, but leaves a Gemm that has one in float.
        if len(sources) == 2:
            _set_integer_bias(graph, node, known[node.input[2]], (sources[0].input[1], sources[1].input[1]), known)


def _set_integer_bias(graph: Graph, node: Node, real: Array, scales: tuple[str, str], known: dict[str, Array]) -> None:
    """The bias's scale is the product of two constants that are in the file anyway: a node costs less than a vector."""
    scale = (known[scales[0]] * known[scales[1]]).astype(np.float64)
    limits = np.iinfo(np.int32)
    # A channel of zeros has the smallest possible scale, in units of which its bias can exceed int32.
    bias = np.clip(np.round(real / scale), limits.min, limits.max).astype(np.int32)
    stem = f"{node.output[0]}_bias"
    names = [add_constant(graph, stem, bias), f"{stem}_scale"]
    at = list(graph.node).index(node)
    graph.node.insert(at, helper.make_node("Mul", scales, [names[1]]))
    graph.node.insert(at + 1, helper.make_node("DequantizeLinear", names, [f"{stem}_real"], axis=0))
    node.input[2] = f"{stem}_real"


def _dequantizes(node: Node, known: dict[str, Array]) -> bool:
    return bool(node.op_type == "DequantizeLinear" and node.input[1] in known)
