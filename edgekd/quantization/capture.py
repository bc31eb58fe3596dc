"""A network as a graph of plain operators: nothing in place, no dropout, no shape arithmetic."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.errors import QuantizationError
from edgekd.quantization.graph import set_tensor
from edgekd.quantization.plain import make_plain
from edgekd.zoo.modes import evaluating

aten = torch.ops.aten


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """The network's inference graph with a free batch size.

    Args:
        model: a float network; its weights are copied, the network stays as it is.
        example: images as the network sees them, two or more.

    Raises:
        QuantizationError: torch.export cannot capture it.
    """
    batch = torch.export.Dim("batch", min=1, max=65536)
    try:
        with evaluating(model):
            program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "integers and ONNX need a fixed graph: let no branch depend on what an image shows"
        raise QuantizationError(type(model).__name__, f"cannot be captured ({first})", remedy) from None
    graph: Any = program.module()
    make_plain(graph)
    for name, parameter in list(graph.named_parameters()):
        set_tensor(graph, name, nn.Parameter(parameter.detach().clone()))
    for name, buffer in list(graph.named_buffers()):
        set_tensor(graph, name, buffer.detach().clone())
    return graph  # type: ignore[no-any-return]


def with_simple_clipping(graph: fx.GraphModule) -> None:
    """Write ``relu6`` and the like as ``clamp``, in place: the ONNX exporter takes that as it is, and fast."""
    for node in graph.graph.nodes:
        if node.target == aten.hardtanh.default:
            defaults: tuple[Any, ...] = (None, -1.0, 1.0)
            images, low, high = node.args + defaults[len(node.args) :]
            node.target, node.args = aten.clamp.default, (images, low, high)
    graph.recompile()
