"""Counts what an ONNX file contains and which kernels ONNX Runtime runs for it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.config.schemes import bits_of
from edgekd.onnx_export.graph import IMAGES, OUTPUT, Graph, Node, is_quantized
from edgekd.onnx_export.unpack import unpacked

SHAPE_OPS = {
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Gather", "Slice", "Split",
    "Concat", "Expand", "Constant", "ReorderInput", "ReorderOutput",
}  # fmt: skip
INTEGER_OPS = {"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger", "MatMulInteger"}
TYPELESS_OPS = {"MaxPool", "NhwcMaxPool", "Pad"}
"""Operators that are integer kernels if they read integers."""


@dataclass(frozen=True)
class Census:
    """Kernels of an optimised graph: integer ones, float ones by 'OpType layer', every operator with its count."""

    integer: int
    float: int
    float_ops: list[str]
    ops: dict[str, int]


def census(optimised: Path) -> Census:
    """Count the kernels of the graph that ONNX Runtime made of a file.

    Everything that reads or writes floats counts as a float kernel, except shape operators and the final
    DequantizeLinear that produces the logits and the QuantizeLinear that reads numbers which are no pixels.
    QuantizeLinear and DequantizeLinear elsewhere count too: a float island begins or ends there.
    """
    model = onnx.load(optimised)
    graph = model.graph
    outputs, inputs = ({value.name for value in values} for values in (graph.output, graph.input))
    integer_tensors = _integer_tensors(graph)
    integer, floats = 0, []
    for node in graph.node:
        if _is_integer(node, integer_tensors):
            integer += 1
        elif node.op_type not in SHAPE_OPS and not _converts_ends(node, inputs, outputs):
            floats.append(f"{node.op_type} {node.name}".strip())
    ops = Counter(node.op_type for node in graph.node)
    return Census(integer, len(floats), floats, dict(sorted(ops.items())))


def _converts_ends(node: Node, inputs: set[str], outputs: set[str]) -> bool:
    """Does a node make levels of what the file is given, or logits of the last integers?"""
    into, out_of = node.op_type == "QuantizeLinear", node.op_type == "DequantizeLinear"
    return (into and node.input[0] in inputs) or (out_of and bool(outputs & set(node.output)))


def _is_integer(node: Node, integer_tensors: set[str]) -> bool:
    if node.op_type.startswith("QLinear") or node.op_type in INTEGER_OPS:
        return True
    return node.op_type in TYPELESS_OPS and node.output[0] in integer_tensors


def _integer_tensors(graph: Graph) -> set[str]:
    """Tensors that hold integers: outputs of integer kernels, also behind shape operators."""
    found = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        quantizes = node.op_type.startswith("QLinear") or node.op_type == "QuantizeLinear"
        passes = node.op_type in SHAPE_OPS | TYPELESS_OPS and node.input and node.input[0] in found
        if quantizes or passes:
            found.update(node.output)
    return found


def weight_range(path: Path) -> int | None:
    """Largest |q| of any int8 weight of a file; None where it has none."""
    return max((limit for limit, _ in _weight_tensors(path)), default=None)


def weights_by_bits(path: Path) -> dict[int, int]:
    """Weights of a file by the bits that their tensor's largest |q| takes, fewest first; empty where none is int8."""
    found: Counter[int] = Counter()
    for limit, count in _weight_tensors(path):
        found[bits_of(limit)] += count
    return dict(sorted(found.items()))


def _weight_tensors(path: Path) -> list[tuple[int, int]]:
    """Largest |q| and number of weights of every int8 weight tensor."""
    return [
        # As int32, since abs(-128) is -128 in int8.
        (int(np.abs(numpy_helper.to_array(tensor).astype(np.int32)).max(initial=0)), int(np.prod(tensor.dims)))
        for tensor in unpacked(path).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    ]


def count_params(path: Path) -> int:
    """Weights and biases of the file's convolutions and fully connected layers."""
    return sum(size for size, _ in _layer_sizes(path))


def count_macs(path: Path) -> int:
    """Multiply-accumulates of the file's convolutions and matrix products for one image."""
    return sum(macs for _, macs in _layer_sizes(path))


def _layer_sizes(path: Path) -> list[tuple[int, int]]:
    """Parameters and MACs of every convolution and matrix product in the file.

    A batch norm that could not be folded is exported as a 1x1 depthwise convolution. It counts no MACs, as in torch.
    """
    model = unpacked(path)
    for given in model.graph.input:
        # One image: a free batch reads as size 0, and matrix products would count nothing.
        given.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    # In an integer file the weights of a layer stand behind a DequantizeLinear.
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        dims = [sizes.get(sources.get(name, name)) for name in node.input[1:]]
        params = sum(int(np.prod(size)) for size in dims if size)
        given, made = shapes[node.input[0]], shapes[node.output[0]]
        if node.op_type in ("Gemm", "MatMul"):
            macs = int(np.prod(made)) * given[-1]
        else:
            assert dims[0], "a convolution's weights are constant"
            if dims[0][1:] == [1, 1, 1] and len(dims) > 1 and given[1] == made[1] == dims[0][0]:
                found.append((params, 0))
                continue
            macs = int(np.prod(dims[0])) * int(np.prod((made if node.op_type == "Conv" else given)[2:]))
        found.append((params, macs))
    return found


def with_taps(path: Path) -> tuple[bytes, list[str]]:
    """The model with every activation as an additional output, and their names, to find where two runtimes diverge.

    In an integer file these are the outputs of DequantizeLinear, so that integer kernels are still fused.
    """
    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name for tensor in unpacked(path).graph.initializer}
    wanted = {"Conv", "Gemm", "Add", "Relu", "Clip"}
    if is_quantized(graph):
        wanted = {"DequantizeLinear"}
    names = [node.output[0] for node in graph.node if node.op_type in wanted and node.input[0] not in constants]
    names = [name for name in names if name not in (IMAGES, OUTPUT)]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return model.SerializeToString(), names
