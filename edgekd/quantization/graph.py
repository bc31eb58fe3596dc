"""Reading and changing a captured graph."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn


def tensor_at(graph: fx.GraphModule, node: Any) -> Tensor | None:
    """The parameter or buffer that a ``get_attr`` node reads; None for no node."""
    if node is None:
        return None
    owner, _, name = node.target.rpartition(".")
    value: Tensor = getattr(graph.get_submodule(owner), name)
    return value


def set_tensor(graph: nn.Module, target: str, value: Any) -> None:
    """Put another parameter or buffer at a dotted place."""
    owner, _, name = target.rpartition(".")
    setattr(graph.get_submodule(owner), name, value)


def put_call(
    graph: fx.GraphModule, target: Any, args: tuple[Any, ...], like: fx.Node, shape: Sequence[Any] | None = None
) -> fx.Node:
    """A new node where the graph is being inserted into.

    Args:
        graph: inside ``inserting_before``.
        target: the operator.
        args: its arguments.
        like: gives values of the same type; torchao wants to know it.
        shape: of the new node's values, where it is not that of ``like``.
    """
    node = graph.graph.call_function(target, args)
    node.meta["val"] = like.meta["val"] if shape is None else like.meta["val"].new_empty(shape)
    return node


def put_tensor(graph: fx.GraphModule, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    """A new constant of the graph and the node that reads it."""
    graph.register_buffer(name, value.detach().clone())
    with graph.graph.inserting_before(before):
        return graph.graph.get_attr(name)
