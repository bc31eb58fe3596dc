"""Where a network's tensors are, and how they lie there."""

import torch
from torch import nn

from edgekd.data.fetch import CPU


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, in place; on a GPU its kernels lie channels last, as images do: else every step copies them."""
    return model if device == CPU else model.to(memory_format=torch.channels_last).to(device)


def to_cpu(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network back from a device, in place, as it was before."""
    return model if device == CPU else model.to(CPU).to(memory_format=torch.contiguous_format)
