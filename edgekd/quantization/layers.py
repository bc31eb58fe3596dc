"""Layers of a captured graph: their names, and how many bits the weights of each have."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from edgekd.config.schemes import Scheme
from edgekd.quantization.graph import tensor_at
from edgekd.quantization.padding import is_image

aten = torch.ops.aten
WEIGHTED = (aten.conv2d.default, aten.linear.default, aten.conv_transpose2d.input)


def bits_by_layer(
    graph: fx.GraphModule, scheme: Scheme, wide: Collection[str], chosen: Mapping[str, int]
) -> dict[str, int]:
    """Bits of every layer's weights: as chosen, else as the scheme has them.

    Args:
        graph: captured.
        scheme: says how many bits weights have, and how many where these are few and matter.
        wide: layers that have the scheme's wide weights, see ``wide_layers``.
        chosen: by layer; wins over the scheme.
    """
    bits = {layer: scheme.widest_bits if layer in wide else scheme.weight_bits for layer in layer_weights(graph)}
    return {layer: chosen.get(layer, own) for layer, own in bits.items()}


def layer_weights(graph: fx.GraphModule) -> dict[str, int]:
    """Weights of every layer with any, in the order of the forward pass; tied layers are one."""
    found: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.target in WEIGHTED:
            weight = _weight(graph, node)
            found.setdefault(layer_of(graph, node), weight.numel() if weight is not None else 0)
    return found


def layers_in_order(graph: fx.GraphModule) -> list[str]:
    """The layer of each node with weights, in the order of the forward pass; one that is used twice stands twice."""
    return [layer_of(graph, node) for node in graph.graph.nodes if node.target in WEIGHTED]


def wide_layers(graph: fx.GraphModule) -> set[str]:
    """The layers that read the images, the last one, and those that work on single channels."""
    last = last_weighted(graph)
    weighted = [node for node in graph.graph.nodes if node.target in WEIGHTED]
    return {
        layer_of(graph, node)
        for node in weighted
        if node is last or is_image(node.args[0]) or _is_depthwise(graph, node)
    }


def layer_of(graph: fx.GraphModule, node: fx.Node) -> str:
    """The name of a node's layer: the module that holds its weights; the node's own where they are computed.

    Two layers that share their weights are one, and have one number of bits.
    """
    source = _source(node)
    return str(source.target).removesuffix(".weight") if source.op == "get_attr" else node.name


def last_weighted(graph: fx.GraphModule) -> fx.Node | None:
    """The layer whose output is the network's; None where something else stands there."""
    outputs: Any = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    last = outputs[0] if isinstance(outputs, tuple | list) else outputs
    return last if last.target in WEIGHTED[:2] else None


def _is_depthwise(graph: fx.GraphModule, node: fx.Node) -> bool:
    weight = _weight(graph, node)
    return weight is not None and weight.dim() > 2 and weight.shape[1] == 1


def _weight(graph: fx.GraphModule, node: fx.Node) -> Tensor | None:
    source = _source(node)
    return tensor_at(graph, source) if source.op == "get_attr" else None


def _source(node: fx.Node) -> fx.Node:
    """Where a layer's weights come from, before they are folded and rounded."""
    weight: Any = node.args[1]
    while weight.op not in ("get_attr", "placeholder"):
        weight = weight.args[0]
    return weight  # type: ignore[no-any-return]
