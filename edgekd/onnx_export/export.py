"""The ONNX file of a captured graph: export, raw pixels as input, clean-up."""

import contextlib
import functools
import logging
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from edgekd.data import PIXEL_CENTRE, PIXEL_SCALE, ValueRange
from edgekd.errors import ExportError
from edgekd.ondevice.sizes import sides
from edgekd.onnx_export.compact import in_16_bits, short_names
from edgekd.onnx_export.graph import (
    IMAGES,
    INPUT,
    LEVELS,
    OUTPUT,
    Graph,
    Node,
    add_constant,
    consumers_of,
    is_quantized,
    rename,
)
from edgekd.onnx_export.integers import (
    absorb_factors,
    drop_vain_clips,
    integer_bias,
    integer_scalars,
    pool_globally,
)
from edgekd.onnx_export.packing import pack_weights
from edgekd.onnx_export.pads import fold_pads, integer_pads
from edgekd.zoo import ModelSpec, example_images

OPSET = 20
IR_VERSION = 10
ONNXRUNTIME_MIN = "1.18"
"""First version that reads files of this opset and IR version."""


def export_onnx(program: nn.Module, spec: ModelSpec, path: Path, unit: ValueRange | None = None) -> None:
    """Write a network as ONNX: uint8 pixels ``(batch, height, width, channels)`` in, float logits out.

    Numbers that are no pixels go in as float32, in the same shape: the file makes levels of them itself.

    Args:
        program: a captured graph in which batch norms are folded; float, or with quantize/dequantize operators.
        spec: its image size and channels.
        path: the file to write.
        unit: what the levels that the network sees are levels of; None: pixels.

    Raises:
        ExportError: the exporter or onnx's checker refuses.
    """
    model = unpacked_file(program, spec, unit)
    pack(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            path.name, f"onnx's checker refuses it ({str(error).splitlines()[0]})", "report the network"
        ) from None
    path.write_bytes(model.SerializeToString())


def unpacked_file(program: nn.Module, spec: ModelSpec, unit: ValueRange | None = None) -> Any:
    """The file that ``export_onnx`` writes, as an onnx model, before ``pack``.

    Raises:
        ExportError: the exporter refuses.
    """
    model = _exported(program, spec)
    graph = model.graph
    _take_pixels(graph, spec, unit)
    # Cleaned between, because a Pad that was folded has no reader but roundings that nothing reads.
    fold_pads(graph)
    _clean(model)
    # The order matters: integer_scalars would quantize a factor that absorb_factors can fold into a scale, and
    # integer_bias reads the final scales.
    for rewrite in (integer_pads, pool_globally, drop_vain_clips, absorb_factors, integer_scalars, integer_bias):
        rewrite(graph)
    _clean(model)
    return model


def pack(model: Any) -> None:
    """Make an integer file smaller, in place; a float one stays as it is. No answer changes."""
    if is_quantized(model.graph):
        for shrink in (pack_weights, in_16_bits, short_names):
            shrink(model.graph)


@functools.cache
def _read_translations_once() -> None:
    """Cache what torch reads again for every file: onnxscript's 500 translations, and which operators are composed.

    That is most of the export of a small network.
    """
    # Private modules of torch 2.14: where they are gone or named otherwise, each file reads them as before.
    with contextlib.suppress(ImportError, AttributeError):
        from torch.export import decomp_utils
        from torch.onnx._internal.exporter import _registration

        registration: Any = _registration
        registry, composed = registration.ONNXRegistry, cast(Any, decomp_utils)
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
        composed._collect_all_valid_cia_ops = functools.cache(composed._collect_all_valid_cia_ops)


def _exported(program: nn.Module, spec: ModelSpec) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    _read_translations_once()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Two images: torch.export takes a size of 1 for a constant.
            return _translated(_captured(program, example_images(spec, batch=2)))
    except Exception as error:
        remedy = "compute it with operators that ONNX has"
        raise ExportError(spec.name, f"cannot be written as ONNX ({_reason(error)})", remedy) from None


def _translated(captured: Any) -> Any:
    """The exporter's model of a captured graph.

    Captured graphs are already plain: decomposing them again traces them once more, which takes half of the export and
    gives the same nodes. Only if an operator has no translation is the graph decomposed first.
    """
    captured.run_decompositions = lambda *_, **__: captured
    try:
        return _made(captured)
    except Exception:
        del captured.run_decompositions
        return _made(captured)


def _made(captured: Any) -> Any:
    made: Any = torch.onnx.export(captured, dynamo=True, opset_version=OPSET, optimize=True, verbose=False)
    return made.model_proto


def _reason(error: BaseException) -> str:
    """First line of the original error, which the exporter wraps in advice and a coloured report."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _captured(program: nn.Module, images: torch.Tensor) -> Any:
    # Without a free batch here, Reshape nodes would keep the batch of the example.
    batch = torch.export.Dim("batch", min=1, max=65536)
    return torch.export.export(program, (images,), dynamic_shapes=({0: batch},))


def recaptured(program: nn.Module, images: torch.Tensor) -> Any:
    """The graph, its nodes named like the values in the exported file."""
    return _captured(program, images).module()


def _take_pixels(graph: Graph, spec: ModelSpec, unit: ValueRange | None) -> None:
    """Make the graph begin with Transpose and DequantizeLinear: the uint8 image is the quantized input itself."""
    entry = graph.input[0].name
    quantize = consumers_of(graph, entry)
    if len(quantize) == 1 and quantize[0].op_type == "QuantizeLinear":
        dequantize = consumers_of(graph, quantize[0].output[0])
        for node in dequantize:
            rename(graph, node.output[0], IMAGES)
        # The QuantizeLinear would only compute the uint8 image again. Without it ONNX Runtime also saves a Transpose.
        for node in (*quantize, *dequantize):
            graph.node.remove(node)
    else:
        rename(graph, entry, IMAGES)
    scale = add_constant(graph, "pixel_scale", np.array(1.0 / PIXEL_SCALE, np.float32))
    zero = add_constant(graph, "pixel_zero_point", np.array(int(PIXEL_CENTRE), np.uint8))
    first, levels = ([], INPUT) if unit is None else (_to_levels(graph, unit), LEVELS)
    first += [
        helper.make_node("Transpose", [levels], ["pixels_nchw"], "pixels_to_nchw", perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["pixels_nchw", scale, zero], [IMAGES], "normalise_pixels"),
    ]
    for node in reversed(first):
        graph.node.insert(0, node)
    shape: list[str | int | None] = ["batch", *sides(spec.image_size), spec.in_channels]
    graph.input.pop()
    kind = TensorProto.FLOAT if unit else TensorProto.UINT8
    graph.input.append(helper.make_tensor_value_info(INPUT, kind, shape))
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


def _to_levels(graph: Graph, unit: ValueRange) -> list[Node]:
    """What makes levels of the numbers of a range."""
    scale = add_constant(graph, "level_scale", np.array(unit.scale))
    zero = add_constant(graph, "level_zero_point", np.array(unit.zero, np.uint8))
    if not unit.offset:
        return [helper.make_node("QuantizeLinear", [INPUT, scale, zero], [LEVELS], "levels_of_values")]
    offset = add_constant(graph, "level_offset", np.array(unit.offset))
    return [
        helper.make_node("Sub", [INPUT, offset], ["values_above"], "values_above_offset"),
        helper.make_node("QuantizeLinear", ["values_above", scale, zero], [LEVELS], "levels_of_values"),
    ]


def _clean(model: Any) -> None:
    """Remove debug metadata, unused nodes and unused constants."""
    graph = model.graph
    model.ir_version = IR_VERSION
    model.producer_name, model.doc_string = "edgekd", ""
    # The exporter's metadata is more than half of a small file: 780 kB with it, 356 kB without.
    del model.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    used: set[str] = {output.name for output in graph.output}
    # Backwards through the sorted nodes, so that one pass also removes what only unused nodes read.
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
