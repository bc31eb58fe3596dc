"""A captured graph that trains safely: ``edgekd.training.safe_backward`` says from what."""

from torch import fx

from edgekd.quantization.batchnorm import CONVOLUTIONS, raw_weight
from edgekd.training.safe_backward import endangered, planar


def with_planes(graph: fx.GraphModule) -> None:
    """Give every endangered convolution its images as planes, in place."""
    for conv in [node for node in graph.graph.nodes if node.target in CONVOLUTIONS]:
        stride = conv.args[3] if len(conv.args) > 3 else (1, 1)
        if endangered(raw_weight(graph, conv), stride):
            with graph.graph.inserting_before(conv):
                planes = graph.graph.call_function(planar, (conv.args[0],))
            conv.args = (planes, *conv.args[1:])
    graph.recompile()


def without_planes(graph: fx.GraphModule) -> None:
    """Take that back, in place: an exported file has a layout of its own."""
    for node in [node for node in graph.graph.nodes if node.target is planar]:
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
    graph.recompile()
