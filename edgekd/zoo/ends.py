"""First and last layers of a network, found by tracing an image: the order of registration says nothing."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.zoo.modes import evaluating

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
FUNCTIONAL = {"ConvolutionBackward0", "AddmmBackward0", "MmBackward0", "BmmBackward0"}
"""Autograd nodes of convolutions and matrix products that are called as functions."""
UNCHANGED = ("ConstantPadNd", "ReflectionPad", "ReplicationPad", "Clone", "Alias", "ToCopy", "Slice")
"""Autograd nodes that do not change the pixels they keep."""


@dataclass(frozen=True)
class Ends:
    """The layers at both ends of a network.

    Args:
        stems: names of the layers that the image reaches first.
        changed: autograd operations on the image before the stems; empty if there is only padding and cropping.
        heads: names of the layers after which no other layer comes.
        softmax: ``softmax`` or ``sigmoid`` if the network ends in one, so that its output is not logits; else empty.
        answer: what the network returned.
    """

    stems: tuple[str, ...]
    changed: tuple[str, ...]
    heads: tuple[str, ...]
    softmax: str
    answer: Any


def ends_of(model: nn.Module, images: Tensor) -> Ends:
    """Trace images through a network in eval mode; its mode and parameters are left unchanged.

    Args:
        model: a network.
        images: shape ``(batch, channels, height, width)``.

    Raises:
        Exception: anything that the network raises for such images.
    """
    made: dict[Any, str] = {}
    read: list[tuple[str, Any]] = []
    shown = images.clone().requires_grad_(True)

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and output.grad_fn is not None:
                made[output.grad_fn] = name
                read.extend((name, value) for value in inputs if isinstance(value, Tensor))

        return hook

    handles = [m.register_forward_hook(note(name)) for name, m in model.named_modules() if isinstance(m, LAYERS)]
    try:
        # The path is read off autograd's graph, which is only recorded with gradients enabled.
        with evaluating(model), torch.enable_grad(), warnings.catch_warnings():
            # torch warns about converting a tensor that needs gradients to a number, which a network may well do.
            warnings.simplefilter("ignore")
            # A clone: a network may change its input in place.
            answer = model(shown.clone())
    finally:
        for handle in handles:
            handle.remove()
    last = answer.grad_fn if isinstance(answer, Tensor) else None
    stems, changed = _stems(read, made, shown)
    return Ends(stems, changed, layers_before(last, made), _squash(last), answer)


def layers_before(node: Any, made: dict[Any, str]) -> tuple[str, ...]:
    """The first layers on each path backwards from an autograd node; ``made``: a layer's own node -> its name."""
    return tuple(dict.fromkeys(made[each] for each in _walk(node, made) if each in made))


def _stems(read: list[tuple[str, Any]], made: dict[Any, str], shown: Tensor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    stems: dict[str, None] = {}
    changed: dict[str, None] = {}
    for name, value in read:
        nodes = list(_walk(value.grad_fn, made))
        if any(getattr(node, "variable", None) is shown for node in nodes):
            stems[name] = None
            done = [node.name() for node in nodes if node not in made and not hasattr(node, "variable")]
            changed |= dict.fromkeys(word for word in done if not word.startswith(UNCHANGED))
    return tuple(stems), tuple(name.removesuffix("Backward0") for name in changed)


def _walk(start: Any, made: dict[Any, str]) -> Iterator[Any]:
    """Autograd nodes backwards from one, breadth first, up to the first layer on each path."""
    waiting, seen = [start] if start is not None else [], {start}
    while waiting:
        node = waiting.pop(0)
        yield node
        if node in made or node.name() in FUNCTIONAL:
            continue
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def _squash(last: Any) -> str:
    """softmax or sigmoid, if the answer comes from one through views only; else empty."""
    while last is not None and last.name().startswith(("View", "Squeeze", "Unsqueeze", "Alias", "ReshapeAlias")):
        last = last.next_functions[0][0]
    name = "" if last is None else last.name()
    return "softmax" if name == "SoftmaxBackward0" else "sigmoid" if name == "SigmoidBackward0" else ""
