"""What a network costs: multiply-accumulates and parameters."""

import torch
from torch import Tensor, nn

from edgekd.zoo.spec import ModelSpec, example_images


def count_macs(model: nn.Module, spec: ModelSpec) -> int:
    """Multiply-accumulates of the convolutions and fully connected layers for one image."""
    macs = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            macs += inputs[0][0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += output[0].numel() * module.in_features

    counted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, counted)]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(example_images(spec))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return macs


def count_params(model: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in model.parameters())
