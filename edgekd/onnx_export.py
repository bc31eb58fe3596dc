"""ONNX files: export, raw pixels as input, clean-up, audit of the graph."""

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgekd.data import PIXEL_CENTRE, PIXEL_SCALE
from edgekd.errors import ExportError
from edgekd.zoo import ModelSpec, example_images

OPSET = 20
IR_VERSION = 10
INPUT, OUTPUT = "pixels", "logits"

Node: TypeAlias = Any
Graph: TypeAlias = Any
Array: TypeAlias = np.ndarray[Any, Any]


def export_onnx(program: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write a network as ONNX: uint8 pixels ``(batch, height, width, channels)`` in, float logits out.

    Args:
        program: a captured graph in which batch norms are folded; float, or with quantize/dequantize operators.
        spec: its image size and channels.
        path: the file to write.

    Raises:
        ExportError: the exporter or onnx's checker refuses.
    """
    model = _exported(program, spec)
    graph = model.graph
    _take_pixels(graph, spec)
    _pool_globally(graph)
    _integer_bias(graph)
    _clean(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            path.name, f"onnx's checker refuses it ({str(error).splitlines()[0]})", "report the network"
        ) from None
    path.write_bytes(model.SerializeToString())


def _exported(program: nn.Module, spec: ModelSpec) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            captured = _captured(program, example_images(spec, batch=2))
            made: Any = torch.onnx.export(captured, dynamo=True, opset_version=OPSET, optimize=True, verbose=False)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(spec.name, f"cannot be written as ONNX ({reason})", "report the network") from None
    return made.model_proto


def _captured(program: nn.Module, images: torch.Tensor) -> Any:
    batch = torch.export.Dim("batch", min=1, max=65536)
    return torch.export.export(program, (images,), dynamic_shapes=({0: batch},))


def recaptured(program: nn.Module, images: torch.Tensor) -> Any:
    """The graph with its nodes named as the values in the exported file are."""
    return _captured(program, images).module()


def _consumers(graph: Graph, name: str) -> list[Node]:
    return [node for node in graph.node if name in node.input]


def _constants(graph: Graph) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _add_constant(graph: Graph, name: str, value: Array) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _rename(graph: Graph, old: str, new: str) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
    for output in graph.output:
        if output.name == old:
            raise ExportError(old, "the output is the input", "report the network")


def _take_pixels(graph: Graph, spec: ModelSpec) -> None:
    """Let the graph begin with Transpose and DequantizeLinear: the uint8 image is the quantized input itself."""
    entry = graph.input[0].name
    quantize = _consumers(graph, entry)
    if len(quantize) == 1 and quantize[0].op_type == "QuantizeLinear":
        dequantize = _consumers(graph, quantize[0].output[0])
        for node in dequantize:
            _rename(graph, node.output[0], "images")
        for node in (*quantize, *dequantize):
            graph.node.remove(node)
    else:
        _rename(graph, entry, "images")
    scale = _add_constant(graph, "pixel_scale", np.array(1.0 / PIXEL_SCALE, np.float32))
    zero = _add_constant(graph, "pixel_zero_point", np.array(int(PIXEL_CENTRE), np.uint8))
    graph.node.insert(0, helper.make_node("Transpose", [INPUT], ["pixels_nchw"], "pixels_to_nchw", perm=[0, 3, 1, 2]))
    graph.node.insert(
        1, helper.make_node("DequantizeLinear", ["pixels_nchw", scale, zero], ["images"], "normalise_pixels")
    )
    shape: list[str | int | None] = ["batch", spec.image_size, spec.image_size, spec.in_channels]
    graph.input.pop()
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    last = graph.output[0].name
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == last:
                node.output[i] = OUTPUT
        for i, name in enumerate(node.input):
            if name == last:
                node.input[i] = OUTPUT
    graph.output.pop()
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", spec.num_classes]))


def _pool_globally(graph: Graph) -> None:
    """Write a mean over height and width as GlobalAveragePool, which ONNX Runtime has an integer kernel for."""
    constants = _constants(graph)
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        axes = sorted(int(axis) for axis in constants[node.input[1]].ravel())
        keeps = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and axes in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def _integer_bias(graph: Graph) -> None:
    """Give every integer Conv and Gemm its bias as int32 with the scale of the products it is added to."""
    constants = _constants(graph)
    producers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in constants:
            continue
        images, weight = producers.get(node.input[0]), producers.get(node.input[1])
        if (
            images is None
            or weight is None
            or not _dequantizes(images, constants)
            or not _dequantizes(weight, constants)
        ):
            continue
        scale = (constants[images.input[1]] * constants[weight.input[1]]).astype(np.float32).ravel()
        limits = np.iinfo(np.int32)
        bias = np.clip(np.round(constants[node.input[2]] / scale.astype(np.float64)), limits.min, limits.max)
        names = [
            _add_constant(graph, f"{node.output[0]}_bias", bias.astype(np.int32)),
            _add_constant(graph, f"{node.output[0]}_bias_scale", scale),
        ]
        real = f"{node.output[0]}_bias_real"
        dequantize = helper.make_node("DequantizeLinear", names, [real], f"{node.name}_bias", axis=0)
        graph.node.insert(list(graph.node).index(node), dequantize)
        node.input[2] = real


def _dequantizes(node: Node, constants: dict[str, Array]) -> bool:
    return node.op_type == "DequantizeLinear" and node.input[1] in constants


def _clean(model: Any) -> None:
    """Leave only what computes: no debug metadata, no unused nodes or constants."""
    graph = model.graph
    model.ir_version = IR_VERSION
    model.producer_name, model.doc_string = "edgekd", ""
    del model.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    used: set[str] = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if not used.intersection(node.output):
            graph.node.remove(node)
            continue
        used.update(node.input)
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)
    domains = {node.domain for node in graph.node}
    for opset in list(model.opset_import):
        if opset.domain not in domains | {""}:
            model.opset_import.remove(opset)
    del model.functions[:]


SHAPE_OPS = {
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Gather", "Slice", "Split",
    "Concat", "Expand", "Constant", "ReorderInput", "ReorderOutput",
}  # fmt: skip
INTEGER_OPS = {"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger", "MatMulInteger"}
SHAPELESS_INTEGER = {"MaxPool"}


@dataclass(frozen=True)
class Census:
    """Kernels of an optimised graph: integer ones, float ones by 'OpType layer', every operator with its count."""

    integer: int
    float: int
    float_ops: list[str]
    ops: dict[str, int]


def census(optimised: Path) -> Census:
    """Count the kernels of the graph that ONNX Runtime made of a file.

    A float kernel is whatever reads or writes float numbers and is neither a shape operator nor the last
    DequantizeLinear behind which the logits leave. A QuantizeLinear or DequantizeLinear elsewhere is a float kernel
    too: it is where an island begins or ends.
    """
    model = onnx.load(optimised)
    graph = model.graph
    outputs = {output.name for output in graph.output}
    integer_tensors = _integer_tensors(graph)
    integer, floats = 0, []
    for node in graph.node:
        if _is_integer(node, integer_tensors):
            integer += 1
        elif node.op_type in SHAPE_OPS or (node.op_type == "DequantizeLinear" and outputs & set(node.output)):
            continue
        else:
            floats.append(f"{node.op_type} {node.name}".strip())
    ops = Counter(node.op_type for node in graph.node)
    return Census(integer, len(floats), floats, dict(sorted(ops.items())))


def _is_integer(node: Node, integer_tensors: set[str]) -> bool:
    if node.op_type.startswith("QLinear") or node.op_type in INTEGER_OPS:
        return True
    return node.op_type in SHAPELESS_INTEGER and node.output[0] in integer_tensors


def _integer_tensors(graph: Graph) -> set[str]:
    """Tensors that are integers: what integer kernels give, also behind shape operators."""
    found = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        quantizes = node.op_type.startswith("QLinear") or node.op_type == "QuantizeLinear"
        passes = node.op_type in SHAPE_OPS | SHAPELESS_INTEGER and node.input and node.input[0] in found
        if quantizes or passes:
            found.update(node.output)
    return found


def weight_range(path: Path) -> int | None:
    """Largest |q| of any int8 constant of a file; None where it has none."""
    largest = [
        int(np.abs(numpy_helper.to_array(tensor).astype(np.int32)).max(initial=0))
        for tensor in onnx.load(path).graph.initializer
        if tensor.data_type == TensorProto.INT8 and int(np.prod(tensor.dims)) > 1
    ]
    return max(largest, default=None)


def count_params(path: Path) -> int:
    """Weights and biases of the file's convolutions and fully connected layers."""
    return sum(size for size, _ in _layer_sizes(path))


def count_macs(path: Path) -> int:
    """Multiply-accumulates of the file's convolutions and fully connected layers for one image."""
    return sum(macs for _, macs in _layer_sizes(path))


def _layer_sizes(path: Path) -> list[tuple[int, int]]:
    """Parameters and MACs of every layer that has weights, read off the file."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
    graph = model.graph
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info}
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        dims = [sizes.get(sources.get(name, name)) for name in node.input[1:]]
        weight = int(np.prod(dims[0])) if dims[0] else 0
        bias = int(np.prod(dims[1])) if len(dims) > 1 and dims[1] else 0
        pixels = int(np.prod(shapes[node.output[0]][2:])) if node.op_type == "Conv" else 1
        found.append((weight + bias, weight * pixels))
    return found


def with_taps(path: Path) -> tuple[bytes, list[str]]:
    """The file with every activation as a further output, and their names, for finding where two runtimes part.

    In an integer file the activations are what DequantizeLinear gives back, so that integer kernels stay as they are.
    """
    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    wanted = {"Conv", "Gemm", "Add", "Relu", "Clip"}
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        wanted = {"DequantizeLinear"}
    names = [node.output[0] for node in graph.node if node.op_type in wanted and node.input[0] not in constants]
    names = [name for name in names if name not in ("images", OUTPUT)]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return model.SerializeToString(), names
