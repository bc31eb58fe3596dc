"""What widths cost, as a sum over layers: fitted to measurements, or known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

PRIOR = 0.03
"""How much a layer's own time is held near to what its multiply-accumulates suggest, in units of the noise."""
NOISE = 0.02
"""Relative error of a measurement, about."""


@dataclass(frozen=True)
class Layers:
    """How many channels the layers of a network read and give at any widths: both follow its groups' linearly.

    Args:
        inputs, outputs: at the whole width, shape ``(layers,)``.
        of_inputs, of_outputs: channels of a layer for each channel of a group, shape ``(layers, groups)``.
        whole: channels of each group, shape ``(groups,)``.
        work: what a layer costs at the whole width, in any unit, shape ``(layers,)``.
        places: pixels that it gives.
    """

    inputs: Any
    outputs: Any
    of_inputs: Any
    of_outputs: Any
    whole: Any
    work: Any
    places: Any

    def shares(self, keep: Sequence[int]) -> Any:
        """Each layer's work of its work at the whole width, shape ``(layers,)``."""
        inputs, outputs = self._at(keep)
        return inputs * outputs / (self.inputs * self.outputs)

    def numbers(self, keep: Sequence[int]) -> float:
        """How many numbers all layers give, of those at the whole width."""
        return float((self._at(keep)[1] * self.places).sum() / (self.outputs * self.places).sum())

    def _at(self, keep: Sequence[int]) -> tuple[Any, Any]:
        fewer = np.asarray(keep) - self.whole
        return self.inputs + self.of_inputs @ fewer, self.outputs + self.of_outputs @ fewer


@dataclass(frozen=True)
class LayerCosts:
    """A cost for each layer, one for what all layers give, and one that stays; of any unit.

    Args:
        layers: of the network.
        each: of a layer at its whole width, shape ``(layers,)``.
        numbers: of what all layers give at the whole width.
        constant: whatever the widths are.
    """

    layers: Layers
    each: Any
    numbers: float
    constant: float

    def __call__(self, keep: Sequence[int]) -> float:
        return float(self.layers.shares(keep) @ self.each) + self.numbers * self.layers.numbers(keep) + self.constant


def fitted(layers: Layers, plans: Sequence[Sequence[int]], measured: Sequence[float]) -> LayerCosts:
    """The costs that explain measurements best; none is negative.

    First three numbers: a constant, a time for a unit of work, a time for what is written. Then each layer may have a
    time of its own, held near to that: layers of the same work differ by what their kernels make of it.

    Args:
        layers: of the network.
        plans: widths that were measured.
        measured: what they cost, above 0.
    """
    shares = np.array([layers.shares(plan) for plan in plans])
    numbers = np.array([layers.numbers(plan) for plan in plans])
    wanted, constant = np.asarray(measured, dtype=float), np.ones(len(plans))
    rough = np.stack([shares @ layers.work, numbers, constant], axis=1)
    weight = 1 / (NOISE * wanted)
    (speed, writing, rest), _ = nnls(rough * weight[:, None], wanted * weight)
    prior = np.array([*(speed * layers.work), writing, rest])
    held = 1 / np.maximum(prior, 1e-3 * wanted.mean()) * PRIOR / NOISE * len(plans) ** 0.5 / len(prior)
    fine = np.concatenate([np.column_stack([shares, numbers, constant]) * weight[:, None], np.diag(held)])
    found, _ = nnls(fine, np.concatenate([wanted * weight, held * prior]))
    return LayerCosts(layers, found[:-2], float(found[-2]), float(found[-1]))
