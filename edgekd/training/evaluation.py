"""Evaluation on a split, batch norm statistics, and the precision of a forward pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Dataset, Split, batches, spread_batches
from edgekd.data.fetch import CPU
from edgekd.training.classes import ClassCounts, count_classes, shortcomings, unbalanced

BATCH = 64
"""Batch size for batch norm statistics, or slightly more, so that all batches are equal."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean cross-entropy (nats) over a split, and counts per class if they were taken."""

    accuracy: float
    loss: float
    classes: ClassCounts | None = None

    def better_than(self, other: "Evaluation | None", balanced: bool = False) -> bool:
        """Higher accuracy (balanced accuracy if ``balanced``); ties go to the lower cross-entropy."""
        return other is None or self._rank(balanced) > other._rank(balanced)

    def decisive(self, balanced: bool) -> float:
        """The accuracy that decides; balanced if so wanted and counted."""
        return self.classes.balanced_accuracy if balanced and self.classes else self.accuracy

    def _rank(self, balanced: bool) -> tuple[float, float]:
        return self.decisive(balanced), -self.loss


def evaluate(model: Callable[[Tensor], Tensor], split: Split, device: torch.device = CPU) -> Evaluation:
    """Evaluate a model, which is on ``device``, on every image of a split, in its current mode."""
    logits = logits_of(model, split, device)
    classes = count_classes(logits.argmax(1), split.labels, logits.shape[1])
    return Evaluation(sum(classes.right) / len(split), float(F.cross_entropy(logits, split.labels)), classes)


def not_learned(found: ClassCounts, data: Dataset) -> list[str]:
    """What a model has not learned, from its answers on ``val``, with advice if rare classes may be the cause."""
    told = shortcomings(found, data.class_names, "val", data.balance)
    if told and not data.balance and unbalanced(data.train.labels.bincount().tolist()):
        told[-1] += "; data.balance: true has every class drawn equally often"
    return told


@torch.inference_mode()
def logits_of(model: Callable[[Tensor], Tensor], split: Split, device: torch.device = CPU) -> Tensor:
    """Every image's logits by a model that is on ``device``; on the CPU, shape ``(count, classes)``."""
    return torch.cat([model(images) for images, _ in batches(split, device=device)]).cpu()


def estimate_batchnorm(model: nn.Module, split: Split, images: int) -> None:
    """Set every batch norm's statistics, in place, to the plain mean over equal batches spread over a split.

    Unlike torch's ``update_bn`` only the norms are in training mode: dropout and stochastic depth would change their
    input.

    Args:
        model: the network, left in eval mode.
        split: whose images they are.
        images: largest number to use; some are dropped, so that batches are equal.
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
    """The model as a function with float32 logits, computed in float32 or in mixed bf16 precision."""
    if precision == "float32":
        return model

    def run(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = model(images)
        return logits.float()

    return run
