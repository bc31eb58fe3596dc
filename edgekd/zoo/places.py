"""Places inside a network where its features are read, found by tracing an image; and reading them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.zoo.ends import LAYERS, layers_before
from edgekd.zoo.modes import evaluating

Side = tuple[int, int]
"""Height and width of a feature map, in places."""


@dataclass(frozen=True)
class Place:
    """A module's output in one of its calls.

    Args:
        module: its name.
        call: number of the call in one forward pass, from 0.
        side: height and width.
        channels: of the output.
        layers: names of the layers that the output comes from directly.
    """

    module: str
    call: int
    side: Side
    channels: int
    layers: tuple[str, ...]


def places_of(model: nn.Module, images: Tensor) -> dict[Side, Place]:
    """The last feature map of each size, the largest size first; maps of a single place are left out.

    Args:
        model: a network, left as it is.
        images: shape ``(batch, channels, height, width)``.
    """
    device = next(model.parameters()).device
    made: dict[Any, str] = {}
    calls: Counter[str] = Counter()
    found: dict[Side, Place] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            calls[name] += 1
            if not isinstance(output, Tensor):
                return
            if isinstance(module, LAYERS):
                made[output.grad_fn] = name
            if output.dim() == 4 and output.shape[2:].numel() > 1:
                side, layers = (output.shape[2], output.shape[3]), layers_before(output.grad_fn, made)
                found[side] = Place(name, calls[name] - 1, side, output.shape[1], layers)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        # Layers are followed back on autograd's graph, which needs an image with a gradient where weights have none.
        with evaluating(model), torch.enable_grad():
            # A copy of it: a network may change its input in place.
            model(images.to(device, copy=True).requires_grad_(True).clone())
    finally:
        for handle in handles:
            handle.remove()
    return dict(sorted(found.items(), reverse=True))


class Watch:
    """A network as a function, which keeps what came out at some places in its last call.

    Args:
        model: whose modules are watched.
        answer: calls ``model``: images to logits.
        places: in the order of ``seen``.
    """

    def __init__(self, model: nn.Module, answer: Callable[[Tensor], Tensor], places: Sequence[Place]) -> None:
        self._model, self._answer, self._places = model, answer, places
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        outputs: dict[str, list[Tensor]] = {place.module: [] for place in self._places}
        # Hooked in training only: a network is evaluated, counted and saved without.
        handles = [
            self._model.get_submodule(name).register_forward_hook(lambda _m, _i, output, kept=kept: kept.append(output))
            for name, kept in outputs.items()
        ]
        try:
            logits = self._answer(images)
        finally:
            for handle in handles:
                handle.remove()
        self.seen = [outputs[place.module][place.call] for place in self._places]
        return logits
