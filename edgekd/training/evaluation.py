"""What a network answers on a split, and in which precision it is computed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Dataset, Split, batches, spread_batches
from edgekd.training.classes import ClassCounts, count_classes, shortcomings, unbalanced

CPU = torch.device("cpu")
BATCH = 64
"""Images that batch norms see at once, or a few more, so that all batches are equal."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean cross-entropy (nats) over a split; how each class was answered, if it was counted."""

    accuracy: float
    loss: float
    classes: ClassCounts | None = None

    def better_than(self, other: "Evaluation | None", balanced: bool = False) -> bool:
        """More right answers, balanced: with every class counting alike; else the lower cross-entropy."""
        return other is None or self._rank(balanced) > other._rank(balanced)

    def _rank(self, balanced: bool) -> tuple[float, float]:
        counted = self.classes if balanced else None
        return self.accuracy if counted is None else counted.balanced_accuracy, -self.loss


def evaluate(model: Callable[[Tensor], Tensor], split: Split, device: torch.device = CPU) -> Evaluation:
    """Ask a model, which is on a device, about every image of a split, in its present mode."""
    logits = logits_of(lambda images: model(images.to(device)).cpu(), split)
    classes = count_classes(logits.argmax(1), split.labels, logits.shape[1])
    return Evaluation(sum(classes.right) / len(split), float(F.cross_entropy(logits, split.labels)), classes)


def not_learned(found: ClassCounts, data: Dataset) -> list[str]:
    """What a model has not learned, from its answers on ``val``; what to do where rare classes may be the cause."""
    told = shortcomings(found, data.class_names, "val", data.balance)
    if told and not data.balance and unbalanced(data.train.labels.bincount().tolist()):
        told[-1] += "; data.balance: true has every class drawn equally often"
    return told


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
        # None: a plain mean over the batches, in which each weighs the same.
        norm.momentum = None
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
