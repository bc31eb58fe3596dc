"""ONNX files: written, made ready for ONNX Runtime's integer kernels, and audited."""

from edgekd.onnx_export.audit import Census, census, count_macs, count_params, weight_range, with_taps
from edgekd.onnx_export.export import INPUT, OUTPUT, export_onnx, recaptured

__all__ = [
    "INPUT",
    "OUTPUT",
    "Census",
    "census",
    "count_macs",
    "count_params",
    "export_onnx",
    "recaptured",
    "weight_range",
    "with_taps",
]
