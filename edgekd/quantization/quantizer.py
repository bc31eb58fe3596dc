"""Where ONNX Runtime wants its quantize/dequantize pairs: the annotation of a captured graph."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, fx
from torchao.quantization.pt2e import (
    FakeQuantize,
    FakeQuantizeBase,
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgekd.config.schemes import limit_of
from edgekd.data import PIXEL_CENTRE, PIXEL_SCALE
from edgekd.quantization.batchnorm import unfold_output
from edgekd.quantization.layers import last_weighted, layer_of
from edgekd.quantization.least_squares import fitted_scale, refined_scale
from edgekd.quantization.padding import RESHAPING, adds_lowest, is_flat_image, is_image, keeps_scale

aten = torch.ops.aten
SCALE_FLOOR = 2.0**-24
"""No scale is smaller: a channel of zeros keeps a finite one."""

WEIGHTED = {aten.conv2d.default, aten.linear.default}
TRANSPOSED = {aten.conv_transpose2d.input}
JOINING = {aten.add.Tensor, aten.mul.Tensor}
POOLING = {aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.mean.dim}
SAME_SCALE = {aten.max_pool2d.default, *RESHAPING}
CLIPPING = {aten.relu.default, aten.hardtanh.default, aten.clamp.default}


def prepared(graph: fx.GraphModule, bits: Mapping[str, int], few: bool) -> fx.GraphModule:
    """The graph with a fake quantizer wherever ONNX Runtime wants a quantize/dequantize pair.

    Args:
        graph: captured.
        bits: of every layer's weights, by ``layer_of``.
        few: find the ranges of weights by least squares.
    """
    found: fx.GraphModule = prepare_pt2e(graph, OnnxRuntimeQuantizer(bits, few))
    return found


def weight_quantizers(graph: fx.GraphModule) -> dict[str, Any]:
    """The fake quantizer of each layer's weights, by ``layer_of``."""
    found = {}
    for node in graph.graph.nodes:
        if node.target in (*WEIGHTED, *TRANSPOSED) and node.args[1].op == "call_module":
            found[layer_of(graph, node)] = graph.get_submodule(node.args[1].target)
    return found


def quantizers_that_learn(graph: fx.GraphModule) -> list[Any]:
    """Those whose ranges follow what they see; the others' are fixed."""
    fixed = "FixedQParams"
    return [m for m in graph.modules() if isinstance(m, FakeQuantizeBase) and fixed not in type(m).__name__]


def converted(graph: fx.GraphModule) -> fx.GraphModule:
    """A prepared graph with integer weights and quantize/dequantize operators."""
    found: fx.GraphModule = convert_pt2e(graph)
    return found


class OnnxRuntimeQuantizer(Quantizer):  # type: ignore[misc]
    """Marks what ONNX Runtime fuses into one integer kernel, and shares scales where it needs them to be one.

    Activations are uint8 per tensor, weights int8 per output channel and symmetric. A ReLU or ReLU6 behind an operator
    gives it its output range: ONNX Runtime then drops the activation. The images are uint8 already (scale 1/64, zero
    point 128). The last layer's output stays float.

    Args:
        bits: of every layer's weights, by ``layer_of``.
        few: find the ranges of weights by least squares.
    """

    def __init__(self, bits: Mapping[str, int], few: bool) -> None:
        self.bits = bits
        observer = LeastSquaresObserver if few else MovingAveragePerChannelMinMaxObserver
        self.weight = cache(partial(_weight_spec, observer))
        self.activation = _activation_spec()
        self.image = FixedQParamsQuantizationSpec(
            torch.uint8, 1.0 / PIXEL_SCALE, int(PIXEL_CENTRE), 0, 255, torch.per_tensor_affine
        )
        self.share = FixedQParamsQuantizationSpec(torch.uint8, 1 / 256, 0, 0, 255, torch.per_tensor_affine)

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Write annotations into the nodes' metadata."""
        self.graph = model
        last = last_weighted(model)
        for node in model.graph.nodes:
            for targets, annotate in self._rules():
                if node.target in targets:
                    annotate(node, node is last)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing: what stays float is found in ONNX Runtime's own graph after export."""

    def _rules(self) -> list[tuple[set[Any], Callable[[fx.Node, bool], None]]]:
        return [
            (WEIGHTED, self._weighted),
            (TRANSPOSED, self._transposed),
            (JOINING, self._joining),
            (POOLING, self._pooling),
            (SAME_SCALE, self._same_scale),
            ({aten.pad.default}, self._padding),
            ({aten.sigmoid.default}, self._sigmoid),
            ({aten.cat.default}, self._concat),
        ]

    def _input(self, node: Any) -> Any:
        return self.image if is_image(node) else self.activation

    def _weight(self, node: fx.Node, output_axis: int) -> Any:
        return self.weight(self.bits[layer_of(self.graph, node)], output_axis)

    def _weighted(self, node: fx.Node, last: bool) -> None:
        images, weight = node.args[0], node.args[1]
        _annotate(node, {images: self._input(images), weight: self._weight(node, 0)}, None)
        if not last:
            _annotate_output(end_of(node), self.activation)

    def _transposed(self, node: fx.Node, _last: bool) -> None:
        """No integer kernel, but ONNX Runtime rounds weights that stand between rounded tensors: here per channel."""
        images, weight = node.args[0], node.args[1]
        _annotate(node, {images: self._input(images), weight: self._weight(node, 1)}, None)
        _annotate_output(end_of(node), self.activation)

    def _joining(self, node: fx.Node, _last: bool) -> None:
        if is_factor(node):
            return
        operands = [arg for arg in node.args[:2] if isinstance(arg, fx.Node) and not is_factor(arg)]
        _annotate(node, {arg: self._input(arg) for arg in operands}, None)
        _annotate_output(end_of(node), self.activation)

    def _sigmoid(self, node: fx.Node, _last: bool) -> None:
        _annotate(node, {node.args[0]: self._input(node.args[0])}, self.share)

    def _pooling(self, node: fx.Node, _last: bool) -> None:
        _annotate(node, {node.args[0]: self._input(node.args[0])}, self.activation)

    def _padding(self, node: fx.Node, _last: bool) -> None:
        """One scale for what is padded and the result, in which zero is exact: the reader pads by itself then.

        What a maximum never chooses needs no number, and the scale passes it by.
        """
        source: Any = node.args[0]
        if adds_lowest(node):
            _annotate(node, {source: self._input(source)}, None)
        elif keeps_scale(node):
            spec = self._input(source)
            _annotate(node, {source: spec}, spec if spec is self.image else SharedQuantizationSpec((source, node)))

    def _same_scale(self, node: fx.Node, _last: bool) -> None:
        source: Any = node.args[0]
        if is_flat_image(node):
            _annotate(node, {source: self.image}, self.image)
        elif adds_lowest(source):
            _annotate(node, {}, SharedQuantizationSpec((source.args[0], source)))
        elif Q_ANNOTATION_KEY in source.meta and source.meta[Q_ANNOTATION_KEY].output_qspec is not None:
            _annotate(node, {source: self.activation}, SharedQuantizationSpec((source, node)))

    def _concat(self, node: fx.Node, _last: bool) -> None:
        parts: Any = node.args[0]
        _annotate(node, {part: self._input(part) for part in parts}, None)
        _annotate_output(end_of(node), self.activation)


def is_factor(node: fx.Node) -> bool:
    """Is this a product with a constant number? In the file it is part of a scale."""
    return node.target == aten.mul.Tensor and not isinstance(node.args[1], fx.Node)


def end_of(node: fx.Node) -> fx.Node:
    """The node whose output is the fused kernel's: behind a batch norm and a clipping activation, if alone."""
    if len(node.users) != 1:
        return node
    user = next(iter(node.users))
    if user.target in (unfold_output, aten.batch_norm.default) or user.target in CLIPPING:
        return user if user.target in CLIPPING else end_of(user)
    return node


def _annotate(node: fx.Node, inputs: dict[Any, Any], output: Any) -> None:
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def _annotate_output(node: fx.Node, output: Any) -> None:
    known = node.meta.get(Q_ANNOTATION_KEY)
    _annotate(node, known.input_qspec_map if known else {}, output)


def _activation_spec() -> Any:
    fake_quantize = FusedMovingAvgObsFakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, averaging_constant=0.05, eps=SCALE_FLOOR
    )
    return QuantizationSpec(torch.uint8, fake_quantize, 0, 255, torch.per_tensor_affine)


def _weight_spec(observer: type, bits: int, output_axis: int) -> Any:
    """Not torchao's fused module: its kernel takes symmetric ranges for -64..63 and trains with another scale."""
    limit = limit_of(bits)
    fake_quantize = FakeQuantize.with_args(observer=observer, averaging_constant=1.0, eps=SCALE_FLOOR)
    return QuantizationSpec(torch.int8, fake_quantize, -limit, limit, torch.per_channel_symmetric, output_axis)


class LeastSquaresObserver(MovingAveragePerChannelMinMaxObserver):  # type: ignore[misc]
    """Sets a channel's range so that its rounded weights lie as near to the weights as they can.

    The range's ends are kept as the smallest and largest value, as other observers keep theirs. The first weights are
    searched through; those that follow, a training step later, refine what was found.
    """

    def forward(self, x_orig: Tensor) -> Tensor:
        if x_orig.numel():
            with torch.no_grad():
                weights = x_orig.detach().float().transpose(0, self.ch_axis).flatten(1)
                known = self.max_val.numel() > 0
                found = (
                    refined_scale(weights, self.max_val / self.quant_max, self.quant_max)
                    if known
                    else fitted_scale(weights, self.quant_max)
                )
                self.max_val.resize_(found.shape).copy_(found * self.quant_max)
                self.min_val.resize_(found.shape).copy_(-found * self.quant_max)
        return x_orig

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """A scale that 16 bits hold: files keep it in them, and nothing that training saw changes."""
        scale, zero_point = super().calculate_qparams()
        return scale.half().float().clamp(min=SCALE_FLOOR), zero_point
