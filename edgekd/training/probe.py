"""A classifier on given weights: fitted to frozen features, a convex problem, before any other weight moves."""

import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config.progress import Progress
from edgekd.data import Dataset, batches, spread_batches
from edgekd.training.classes import count_classes
from edgekd.training.evaluation import Evaluation

PROBE_VERSION = 1
"""Increased when the same features give another layer; part of the digest of a teacher with given weights."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse weights of the L2 penalty, for features of standard deviation 1."""
MOST_IMAGES = 20_000
MOST_PRODUCTS = 5e9
"""Images times features times classes: what one step of the fit multiplies, a second on a small CPU."""
LEAST_PER_CLASS = 20
STEPS = 200

Fitted = tuple[Tensor, Tensor]
"""Weight, shape ``(classes, features)``, and bias of a linear layer."""


def fit_head(model: nn.Module, head: str, data: Dataset, progress: Progress) -> Evaluation | None:
    """Fit a network's last layer to the features that the rest of it gives, by logistic regression.

    The penalty is chosen on val. Features are those of unaugmented images, in eval mode.

    Args:
        model: left in eval mode, with the fitted last layer.
        head: name of that layer.
        data: fitted on its train split, or on so many images of it that one step takes about a second.
        progress: informed about the passes over the images.

    Returns:
        The result on val; None, and the network as it was, if the layer is not linear or reads no vectors.

    Source: Kumar, Raghunathan, Jones, Ma, Liang (2022): fitted so, fine-tuning does not distort the features first.
    """
    layer = model.get_submodule(head)
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        return None
    count = _images(len(data.train), layer.in_features, data.num_classes)
    labelled = [*spread_batches(data.train, count, 256)]
    told = _counted(progress, len(labelled) + -(-len(data.val) // 256))
    train, labels = _features(model, layer, labelled, told), torch.cat([part for _, part in labelled])
    val = _features(model, layer, batches(data.val), told)
    if train is None or val is None or len(labels.bincount().nonzero()) < data.num_classes:
        return None
    found = [_fitted(train, labels, strength, data.balance) for strength in STRENGTHS]
    results = [_evaluation(F.linear(val, *fitted), data) for fitted in found]
    best = 0
    for index, result in enumerate(results):
        best = index if result.better_than(results[best], data.balance) else best
    with torch.no_grad():
        layer.weight.copy_(found[best][0])
        layer.bias.copy_(found[best][1])
    return results[best]


def _images(images: int, features: int, classes: int) -> int:
    affordable = max(LEAST_PER_CLASS * classes, int(MOST_PRODUCTS / (features * classes)))
    return min(images, MOST_IMAGES, affordable)


def _counted(progress: Progress, total: int) -> Callable[[], None]:
    done = iter(range(1, total + 1))
    return lambda: progress.work("features for the last layer", next(done), total)


@torch.inference_mode()
def _features(
    model: nn.Module, layer: nn.Linear, images: Iterable[tuple[Tensor, Tensor]], told: Callable[[], None]
) -> Tensor | None:
    """What the layer reads, shape ``(count, features)``; None if that is no vector for each image."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        model.eval()
        for batch, _ in images:
            model(batch)
            told()
            if found[-1].shape != (len(batch), layer.in_features):
                return None
    finally:
        handle.remove()
    return torch.cat(found)


def _fitted(features: Tensor, labels: Tensor, strength: float, balanced: bool) -> Fitted:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # One scale for all features: one each would blow up those that hardly move.
    scale = float(features.std()) or 1.0
    wanted = LogisticRegression(C=strength, max_iter=STEPS, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        # Good enough after STEPS: fine-tuning goes on from here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        wanted.fit((features / scale).numpy(), labels.numpy())
    weight, bias = (torch.from_numpy(part).float() for part in (wanted.coef_, wanted.intercept_))
    if len(weight) == 1:  # of two classes scikit-learn tells the second's logit alone
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return weight / scale, bias


def _evaluation(logits: Tensor, data: Dataset) -> Evaluation:
    classes = count_classes(logits.argmax(1), data.val.labels, logits.shape[1])
    return Evaluation(sum(classes.right) / len(data.val), float(F.cross_entropy(logits, data.val.labels)), classes)
