"""Works around a bug in oneDNN, which computes torch's convolutions on x86 CPUs.

The weight gradient of a strided 1x1 convolution over fewer channels than a vector register holds, channels last in
memory, is written past the end of its buffer: training hangs, crashes or goes wrong. Other memory layouts are not
affected. Source: oneDNN issue 6035.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

VECTOR = 16
"""Floats in the widest register, AVX-512's."""


def endangered(weight: Tensor, stride: Sequence[int]) -> bool:
    """Is a convolution affected?

    Args:
        weight: shape ``(outputs, inputs / groups, height, width)``.
        stride: vertical and horizontal.

    >>> import torch
    >>> endangered(torch.ones(8, 4, 1, 1), (2, 2)), endangered(torch.ones(8, 4, 1, 1), (1, 1))
    (True, False)
    """
    return weight.shape[2:] == (1, 1) and max(stride) > 1 and weight.shape[1] < VECTOR


def planar(images: Tensor) -> Tensor:
    """The same images, channels first in memory."""
    return images.contiguous()


@contextlib.contextmanager
def trained_safely(model: nn.Module) -> Iterator[None]:
    """Inside the context, affected convolutions of a network get their input channels first."""
    # Hooks, not replaced modules: what is saved and exported must be the original network.
    hooks = [
        module.register_forward_pre_hook(_planar_first)
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and endangered(module.weight, module.stride)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _planar_first(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (planar(args[0]), *args[1:])
