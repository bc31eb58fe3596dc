"""Proof of a cut: the smaller network must answer like the whole one in which the cut channels are silenced.

Both get random weights and images. If channels were followed to the wrong place, the answers differ by about as much as
the cut changes them; otherwise by float rounding.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekd.errors import PruningError
from edgekd.ondevice.sizes import sides
from edgekd.pruning.cut import Cut, removed, silenced, together
from edgekd.pruning.graph import not_for_memory
from edgekd.zoo import ModelSpec

IMAGES = 4
TOLERANCE = 1e-3
"""Largest error relative to a cut's effect: rounding gives less than 1e-5, one wrong layer in a hundred about 1e-2."""


@dataclass(frozen=True)
class Proof:
    """What is needed to prove cuts of a network.

    Args:
        model: the network with random weights.
        images: random ones.
        answers: its logits for them.
    """

    model: nn.Module
    images: Tensor
    answers: Tensor

    def holds(self, cuts: Sequence[Cut]) -> bool:
        """Are these cuts right, made all at once?"""
        cut = together(cuts)
        try:
            smaller = _answers(removed(self.model, cut), self.images)
        # A network may raise anything on tensors of other sizes.
        except Exception as raised:
            not_for_memory(raised)
            return False
        wanted = _answers(silenced(self.model, cut), self.images)
        if smaller.shape != wanted.shape:
            return False
        effect, error = (self.answers - wanted).abs().max(), (smaller - wanted).abs().max()
        # NaN compares false, so that a broken network is refused.
        return bool(error <= TOLERANCE * effect)

    def wrong(self, cuts: Sequence[Cut]) -> set[int]:
        """Indices of the cuts to leave out, so that the others hold together."""
        alone = self._wrong_in(cuts, list(range(len(cuts))))
        rest = [cut for number, cut in enumerate(cuts) if number not in alone]
        return alone if not alone or self.holds(rest) else self._wrong_in_turn(cuts)

    def _wrong_in(self, cuts: Sequence[Cut], numbers: list[int]) -> set[int]:
        """Wrong cuts, found by bisection: most networks have none."""
        if not numbers or self.holds([cuts[number] for number in numbers]):
            return set()
        if len(numbers) == 1:
            return set(numbers)
        middle = len(numbers) // 2
        return self._wrong_in(cuts, numbers[:middle]) | self._wrong_in(cuts, numbers[middle:])

    def _wrong_in_turn(self, cuts: Sequence[Cut]) -> set[int]:
        """Wrong cuts, found by adding one at a time: for cuts that are right alone but wrong together."""
        right: list[int] = []
        for number in range(len(cuts)):
            if self.holds([cuts[other] for other in (*right, number)]):
                right.append(number)
        return set(range(len(cuts))) - set(right)


def proof_of(model: nn.Module, spec: ModelSpec) -> Proof:
    """The ``Proof`` for a model, which is left unchanged.

    Raises:
        PruningError: it does not run on several images at once.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, spec.in_channels, *sides(spec.image_size), generator=generator)
    images, probe = images.to(memory_format=torch.channels_last), randomised(model)
    try:
        return Proof(probe, images, _answers(probe, images))
    except Exception as error:
        not_for_memory(error)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problem = f"does not run on {IMAGES} images at once ({reason})"
        raise PruningError(spec.name, problem, "leave the prune stage out") from None


@torch.inference_mode()
def _answers(model: nn.Module, images: Tensor) -> Tensor:
    """Logits, shape ``(images, classes)``; batch norms use batch statistics, which suit any weights."""
    for module in model.eval().modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    answers: Tensor = model(images)
    return answers


def randomised(model: nn.Module) -> nn.Module:
    """A copy with random non-zero weights of the usual size."""
    generator = torch.Generator().manual_seed(0)
    twin = copy.deepcopy(model).requires_grad_(False)
    for parameter in twin.parameters():
        if parameter.dim() < 2:
            parameter.uniform_(0.5, 1.5, generator=generator)
        else:
            # Kaiming's bound keeps activations at the same size through any depth, so that the effect of a wrong cut
            # neither vanishes nor explodes.
            bound = (6 / max(1, parameter[0].numel())) ** 0.5
            parameter.uniform_(-bound, bound, generator=generator)
    return twin
