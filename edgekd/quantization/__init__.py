"""Quantization for ONNX Runtime: capture, fake quantization for training, calibration, conversion to integers."""

from torch import fx, nn

from edgekd.quantization.batchnorm import fold_batchnorm, with_convolutions_before
from edgekd.quantization.capture import capture, with_simple_clipping
from edgekd.quantization.layers import layers_in_order
from edgekd.quantization.quantized import QuantizedModel, check_quantizable, layers_of
from edgekd.zoo import ModelSpec, example_images

__all__ = ["QuantizedModel", "check_quantizable", "float_graph", "layers_in_order", "layers_of"]


def float_graph(model: nn.Module, spec: ModelSpec, known_as: str = "") -> fx.GraphModule:
    """A float network as it is exported: captured (see ``capture``), batch norms folded."""
    graph = capture(model, example_images(spec, batch=2), known_as)
    with_convolutions_before(graph)
    fold_batchnorm(graph)
    with_simple_clipping(graph)
    return graph
