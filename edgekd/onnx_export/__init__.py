"""Exports ONNX files, rewrites them for ONNX Runtime's integer kernels, and audits them."""

from edgekd.onnx_export.audit import Census, census, count_macs, count_params, weight_range, weights_by_bits, with_taps
from edgekd.onnx_export.export import IR_VERSION, ONNXRUNTIME_MIN, OPSET, export_onnx, pack, recaptured, unpacked_file
from edgekd.onnx_export.graph import INPUT, OUTPUT
from edgekd.onnx_export.slicing import Template, Weighted, sliced, template_of

__all__ = [
    "INPUT",
    "IR_VERSION",
    "ONNXRUNTIME_MIN",
    "OPSET",
    "OUTPUT",
    "Census",
    "Template",
    "Weighted",
    "census",
    "count_macs",
    "count_params",
    "export_onnx",
    "pack",
    "recaptured",
    "sliced",
    "template_of",
    "unpacked_file",
    "weight_range",
    "weights_by_bits",
    "with_taps",
]
