"""What a network costs: multiply-accumulates and parameters."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekd.zoo.modes import evaluating
from edgekd.zoo.spec import ModelSpec, example_images


def count_macs(model: nn.Module, spec: ModelSpec) -> int:
    """Multiply-accumulates of all convolutions and matrix products for one image, in layers or functions.

    ``onnx_export.count_macs`` counts the same in a file.
    """
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), counter:
        model(example_images(spec))
    # FlopCounterMode counts a multiplication and an addition as two.
    return int(counter.get_total_flops()) // 2


def count_params(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
