"""What a network answers on a split, and in which precision it is computed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Split, batches, spread_batches

CPU = torch.device("cpu")
BATCH = 64
"""Images that batch norms see at once, or a few more, so that all batches are equal."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean cross-entropy (nats) over a split."""

    accuracy: float
    loss: float

    def better_than(self, other: "Evaluation | None") -> bool:
        """More right answers; where they are as many, the lower cross-entropy."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


def evaluate(model: Callable[[Tensor], Tensor], split: Split, device: torch.device = CPU) -> Evaluation:
    """Ask a model, which is on a device, about every image of a split, in its present mode."""
    logits = logits_of(lambda images: model(images.to(device)).cpu(), split)
    accuracy = int((logits.argmax(1) == split.labels).sum()) / len(split)
    return Evaluation(accuracy, float(F.cross_entropy(logits, split.labels)))


@torch.inference_mode()
def logits_of(model: Callable[[Tensor], Tensor], split: Split) -> Tensor:
    """Every image's logits, shape ``(count, classes)``."""
    return torch.cat([model(images) for images, _ in batches(split)])


def estimate_batchnorm(model: nn.Module, split: Split, images: int) -> None:
    """Give every batch norm the statistics of images spread over a split: a plain mean over equal batches, in place.

    Nothing else is put in training mode: dropout and stochastic depth would change what the norms see. That is why
    this is not torch's ``update_bn``.

    Args:
        model: the network, left in eval mode.
        split: whose images they are.
        images: how many, at most; some are left out, so that batches are equal.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches, each of which weighs the same
        norm.train()
    count = min(images, len(split))
    size = count // max(1, count // BATCH)
    with torch.no_grad():
        for batch, _ in spread_batches(split, count - count % size, size):
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def in_precision(model: nn.Module, precision: str) -> Callable[[Tensor], Tensor]:
    """The model as a function of images whose logits are float32, computed in float32 or, mixed, in bf16."""
    if precision == "float32":
        return model

    def run(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = model(images)
        return logits.float()

    return run
