"""``weight_bits: auto``: the cheapest mix of bits, layer by layer, that keeps the accuracy on val."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from edgekd.config.schemes import MIXED, Scheme
from edgekd.data import Dataset, Split, calibration_batches
from edgekd.quantization import QuantizedModel, layers_of
from edgekd.quantization.sensitivity import LayerLoss, layer_losses, mixes
from edgekd.stages.base import Context
from edgekd.training.evaluation import Evaluation, evaluate
from edgekd.zoo import ModelSpec, fingerprint

TRIAL_IMAGES = 128
"""That correct the batch norms in each trial of one layer."""
VAL_IMAGES = 512
"""That each trial is judged by; the mix itself is judged by all of val."""


def sensitivity(ctx: Context, model: nn.Module, spec: ModelSpec, images: int) -> list[LayerLoss]:
    """What each layer alone loses at 4, 3 and 2 bits; none of those that keep 7 bits anyway."""
    weights = layers_of(model, spec)
    calibrated = calibrated_model(model, spec, ctx.data, images, MIXED, dict.fromkeys(weights, MIXED.widest_bits))
    val = _some(ctx.data.val, VAL_IMAGES)
    return layer_losses(
        calibrated,
        weights,
        [layer for layer in weights if layer not in calibrated.wide],
        lambda: calibration_batches(ctx.data, TRIAL_IMAGES),
        lambda: evaluate(calibrated, val).loss,
        lambda done, total: ctx.progress.work(f"{ctx.name}: sensitivity", done, total),
    )


def cheapest_mix(
    ctx: Context, model: nn.Module, spec: ModelSpec, images: int, most_lost: float, layers: list[LayerLoss]
) -> dict[str, int]:
    """The mix of fewest bytes that loses no more accuracy on val than allowed, calibrated alone; by bisection.

    Args:
        most_lost: accuracy, against every layer at its most bits.
        layers: as ``sensitivity`` found them; none: every layer keeps what the scheme gives it.
    """
    if not layers:
        return {}
    path = list(mixes(layers))
    tried: dict[int, Evaluation] = {}

    def reached(index: int) -> float:
        if index not in tried:
            mixed = calibrated_model(model, spec, ctx.data, images, MIXED, path[index])
            tried[index] = evaluate(mixed, ctx.data.val)
            mean = _mean_bits(layers, path[index])
            ctx.progress.note(f"{ctx.name}: a mix of {mean:.2f} bits: {tried[index].accuracy:.4f} on val")
        return tried[index].accuracy

    low, high, wanted = 0, len(path) - 1, reached(len(path) - 1) - most_lost
    while low < high:
        middle = (low + high) // 2
        if reached(middle) >= wanted:
            high = middle
        else:
            low = middle + 1
    return path[high]


def _mean_bits(layers: list[LayerLoss], mix: Mapping[str, int]) -> float:
    """Of a weight, in the layers that had a choice."""
    return sum(layer.weights * mix[layer.layer] for layer in layers) / sum(layer.weights for layer in layers)


def calibrated_model(
    model: nn.Module, spec: ModelSpec, data: Dataset, images: int, scheme: Scheme, chosen: Mapping[str, int]
) -> QuantizedModel:
    """A network with batch norms corrected for rounded weights, and ranges, from so many training images."""
    found = QuantizedModel(model, spec, scheme, fingerprint(model, spec), chosen)
    found.correct_batchnorm(lambda: calibration_batches(data, images))
    found.calibrate(calibration_batches(data, images))
    return found


def _some(split: Split, most: int) -> Split:
    """Images spread over a split."""
    step = max(1, len(split) // most)
    chosen: Tensor = split.labels.new_tensor(range(0, len(split), step))
    return replace(split, images=split.images[chosen], labels=split.labels[chosen])
