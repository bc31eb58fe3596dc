"""A network as a graph of plain operators: nothing in place, no dropout, no shape arithmetic."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.errors import QuantizationError
from edgekd.quantization.branches import merge_branches
from edgekd.quantization.canonical import make_plain
from edgekd.quantization.graph import set_tensor
from edgekd.zoo.modes import evaluating

aten = torch.ops.aten


def capture(model: nn.Module, example: Tensor, known_as: str = "") -> fx.GraphModule:
    """The network's inference graph with a free batch size; parallel branches of one convolution are merged.

    Args:
        model: a float network; its weights are copied, the network stays as it is.
        example: images as the network sees them, two or more.
        known_as: networks of one such name differ in their tensors alone (``zoo.fingerprint``), so that the graph of
            the first serves them all; empty: nothing is remembered.

    Raises:
        QuantizationError: torch.export cannot capture it.
    """
    graph = _CAPTURED.pop(known_as, None) or _traced(model, example)
    if known_as:
        _CAPTURED[known_as] = graph
        while len(_CAPTURED) > MOST_REMEMBERED:
            del _CAPTURED[next(iter(_CAPTURED))]
    own = _with_tensors_of(copy.deepcopy(graph), model)
    merge_branches(own)
    return own


MOST_REMEMBERED = 4
"""Graphs: a pipeline has a teacher, a student, and perhaps an assistant."""
_CAPTURED: dict[str, fx.GraphModule] = {}
"""By name, the latest used last: tracing a network takes seconds, copying its graph a tenth of that."""


def _traced(model: nn.Module, example: Tensor) -> fx.GraphModule:
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
    return graph  # type: ignore[no-any-return]


def _with_tensors_of(graph: fx.GraphModule, model: nn.Module) -> fx.GraphModule:
    """The graph with copies of a network's tensors, by name; what the network has no name for is the graph's own."""
    parameters, buffers = (
        dict(named(remove_duplicate=False)) for named in (model.named_parameters, model.named_buffers)
    )
    for name, parameter in list(graph.named_parameters()):
        set_tensor(graph, name, nn.Parameter(parameters.get(name, parameter).detach().clone()))
    for name, buffer in list(graph.named_buffers()):
        set_tensor(graph, name, buffers.get(name, buffer).detach().clone())
    return graph


def with_simple_clipping(graph: fx.GraphModule) -> None:
    """Write ``relu6`` and the like as ``clamp``, in place: the ONNX exporter takes that as it is, and fast."""
    for node in graph.graph.nodes:
        if node.target == aten.hardtanh.default:
            defaults: tuple[Any, ...] = (None, -1.0, 1.0)
            images, low, high = node.args + defaults[len(node.args) :]
            node.target, node.args = aten.clamp.default, (images, low, high)
    graph.recompile()
