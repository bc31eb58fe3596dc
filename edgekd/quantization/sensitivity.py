"""Which layers lose much with few bits, and the mix of bits that costs fewest bytes for a given loss.

Each layer is rounded alone to each number of bits and the network is asked about val: Dong et al. (2019) and NNCF rank
layers so. The losses are taken to add up, which makes the best mix for any price of a byte a choice layer by layer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgekd.config.schemes import W2, W3, W4
from edgekd.quantization.quantized import QuantizedModel

FEW = tuple(scheme.weight_bits for scheme in (W4, W3, W2))


@dataclass(frozen=True)
class LayerLoss:
    """One layer's sensitivity.

    Args:
        layer: its name.
        weights: how many it has.
        bits: before it is rounded further: what it keeps where it is too sensitive.
        loss: by bits, how much the cross-entropy on val rises when this layer alone has so few; nats, may be below 0.
    """

    layer: str
    weights: int
    bits: int
    loss: Mapping[int, float]


def layer_losses(
    model: QuantizedModel,
    weights: Mapping[str, int],
    layers: Iterable[str],
    images: Callable[[], Iterable[Tensor]],
    val_loss: Callable[[], float],
    told: Callable[[int, int], None],
) -> list[LayerLoss]:
    """Round each layer alone to each few bits; the model is left as it came.

    Args:
        model: calibrated, of a scheme of few bits, every layer of which still has many.
        weights: of every layer.
        layers: those that are tried.
        images: calibration images, anew at each call: with fewer bits batch norms see something else.
        val_loss: the model's cross-entropy on val.
        told: called with how many trials are done, and of how many.
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    names, found = list(layers), []
    before = val_loss()
    for index, layer in enumerate(names):
        loss = {}
        for number, bits in enumerate(FEW):
            with model.with_bits({layer: bits}):
                model.correct_batchnorm(images)
                model.refit_weight_ranges()
                loss[bits] = val_loss() - before
            model.load_state_dict(state)
            told(len(FEW) * index + number + 1, len(FEW) * len(names))
        found.append(LayerLoss(layer, weights[layer], model.bits[layer], loss))
    return found


def mixes(layers: Sequence[LayerLoss]) -> Iterator[dict[str, int]]:
    """Bits by layer, from the fewest bytes to the most: for each price of a byte the mix that is then the cheapest.

    >>> small, large = LayerLoss("a", 10, 7, {4: 0.1, 2: 0.3}), LayerLoss("b", 1000, 7, {4: 0.1, 2: 0.3})
    >>> [*mixes([small, large])]
    [{'a': 2, 'b': 2}, {'a': 4, 'b': 2}, {'a': 7, 'b': 2}, {'a': 7, 'b': 4}, {'a': 7, 'b': 7}]
    """
    seen: list[dict[str, int]] = []
    for price in sorted(_prices(layers), reverse=True):
        mix = {layer.layer: _cheapest(layer, price) for layer in layers}
        if not seen or mix != seen[-1]:
            seen.append(mix)
            yield mix


def _rising(layer: LayerLoss) -> dict[int, float]:
    """Losses by bits, most bits first, without the noise by which fewer bits sometimes seem to lose less."""
    loss, most = {layer.bits: 0.0}, 0.0
    for bits in sorted(layer.loss, reverse=True):
        most = max(most, layer.loss[bits])
        loss[bits] = most
    return loss


def _cheapest(layer: LayerLoss, price: float) -> int:
    """The bits of a layer at a price in nats a bit."""
    loss = _rising(layer)
    return min(loss, key=lambda bits: (loss[bits] + price * bits * layer.weights, bits))


def _prices(layers: Sequence[LayerLoss]) -> set[float]:
    """Prices, a little above and below which a layer takes other bits."""
    found = {0.0, float("inf")}
    for layer in layers:
        loss = _rising(layer)
        for few in loss:
            for many in loss:
                if few < many and loss[few] > loss[many]:
                    found.add((loss[few] - loss[many]) / ((many - few) * layer.weights))
    edges = sorted(found - {float("inf")})
    above = edges[-1] * 2 + 1.0
    return {(one + other) / 2 for one, other in zip(edges, [*edges[1:], above], strict=True)} | {above, 0.0}
