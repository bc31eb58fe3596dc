"""Scales of weights with few bits: the one that leaves the smallest squared error, channel by channel."""

import torch
from torch import Tensor

CANDIDATES = 40
"""Parts of the largest weight that are tried as the end of a channel's range."""
SMALLEST_PART = 0.2
"""Of the largest weight: below it even two bits lose more by clipping than they gain."""
REFINEMENTS = 3
"""Each takes the best scale for the integers, then the integers of that scale; the error never grows."""


def fitted_scale(weights: Tensor, limit: int) -> Tensor:
    """The scale of each row that leaves the smallest squared error.

    >>> fitted_scale(torch.tensor([[0.5, -0.5, 0.0, 0.5]]), 1)
    tensor([0.5000])

    Args:
        weights: shape ``(channels, weights of one)``.
        limit: largest |q|.

    Returns:
        Shape ``(channels,)``, > 0 but where a row is zero.
    """
    largest = weights.abs().amax(1)
    best, error = largest / limit, torch.full_like(largest, torch.inf)
    for part in torch.linspace(SMALLEST_PART, 1.0, CANDIDATES).tolist():
        scale = part * largest / limit
        left = squared_error(weights, scale, limit)
        best, error = torch.where(left < error, scale, best), torch.minimum(left, error)
    return refined_scale(weights, best, limit)


def refined_scale(weights: Tensor, scale: Tensor, limit: int) -> Tensor:
    """A better scale than the given one: the integers' own least squares, a few times over.

    Args:
        weights: shape ``(channels, weights of one)``.
        scale: shape ``(channels,)``.
        limit: largest |q|.
    """
    for _ in range(REFINEMENTS):
        integers = rounded(weights, scale, limit)
        products, squares = (weights * integers).sum(1), integers.square().sum(1)
        scale = torch.where(squares > 0, products / squares.clamp(min=1), weights.abs().amax(1) / limit)
    return scale


def squared_error(weights: Tensor, scale: Tensor, limit: int) -> Tensor:
    """What rounding leaves of each row, shape ``(channels,)``."""
    return (weights - rounded(weights, scale, limit) * scale[:, None]).square().sum(1)


def rounded(weights: Tensor, scale: Tensor, limit: int) -> Tensor:
    """The integers of weights, as floats."""
    return (weights / scale[:, None].clamp(min=torch.finfo(torch.float32).tiny)).round().clamp(-limit, limit)
