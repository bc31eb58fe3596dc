"""Channels to cut from each layer: removed from a copy of a network, or silenced in one."""

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.zoo import WIDTH_ATTRIBUTES

Numbers = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Cut:
    """Channels to remove, by layer.

    Args:
        outputs: layer -> indices of its output channels in the unpruned network.
        inputs: layer -> indices of its input channels; for a depthwise layer or a norm those of its outputs.
    """

    outputs: Numbers
    inputs: Numbers


def together(cuts: Iterable[Cut]) -> Cut:
    """The union of several cuts: a layer behind a concatenation loses inputs through several of them."""
    cuts = list(cuts)
    return Cut(_union(cut.outputs for cut in cuts), _union(cut.inputs for cut in cuts))


def _union(parts: Iterable[Numbers]) -> Numbers:
    found: dict[str, frozenset[int]] = {}
    for part in parts:
        for layer, numbers in part.items():
            found[layer] = found.get(layer, frozenset()) | numbers
    return found


def removed(model: nn.Module, cut: Cut) -> nn.Module:
    """A copy without these channels; gradients are not copied.

    Raises:
        IndexError: a layer has no such channel.
    """
    twin = copy.deepcopy(model).requires_grad_(True)
    for name, layer in twin.named_modules():
        if name in cut.outputs or name in cut.inputs:
            _shrink(layer, cut.outputs.get(name, frozenset()), cut.inputs.get(name, frozenset()))
    return twin


def silenced(model: nn.Module, cut: Cut) -> nn.Module:
    """A copy of the same size in which the weights of the inputs to be cut are zero."""
    twin = copy.deepcopy(model)
    for name, layer in twin.named_modules():
        if name in cut.inputs and not each_by_itself(layer):
            _, axis = _axes(layer)
            layer.get_parameter("weight").data.index_fill_(axis, torch.tensor(sorted(cut.inputs[name])), 0.0)
    return twin


def each_by_itself(layer: nn.Module) -> bool:
    """Does every output depend only on the input of the same index, as in norms and depthwise convolutions?"""
    # Only depthwise convolutions get here with groups: the channels of other grouped convolutions are kept
    # (``graph.py``).
    return not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) or getattr(layer, "groups", 1) > 1


def _shrink(layer: nn.Module, outputs: Collection[int], inputs: Collection[int]) -> None:
    if each_by_itself(layer):
        _take_away(layer, ("weight", "bias", "running_mean", "running_var"), 0, outputs)
        _narrow(layer, WIDTH_ATTRIBUTES, outputs)
        return
    out_axis, in_axis = _axes(layer)
    _take_away(layer, ("weight",), out_axis, outputs)
    _take_away(layer, ("bias",), 0, outputs)
    _take_away(layer, ("weight",), in_axis, inputs)
    _narrow(layer, ("out_channels", "out_features"), outputs)
    _narrow(layer, ("in_channels", "in_features"), inputs)


def _axes(layer: nn.Module) -> tuple[int, int]:
    """The axes of a weight: outputs, inputs."""
    return (1, 0) if isinstance(layer, nn.ConvTranspose2d) else (0, 1)


def _take_away(layer: nn.Module, keys: Iterable[str], axis: int, gone: Collection[int]) -> None:
    for key in keys:
        old = getattr(layer, key, None)
        if old is None or not gone:
            continue
        stays = torch.ones(old.shape[axis], dtype=torch.bool)
        stays[sorted(gone)] = False
        left = old.detach().index_select(axis, stays.nonzero().flatten())
        setattr(layer, key, nn.Parameter(left) if isinstance(old, nn.Parameter) else left)


def _narrow(layer: nn.Module, keys: Iterable[str], gone: Collection[int]) -> None:
    for key in keys:
        if hasattr(layer, key):
            setattr(layer, key, getattr(layer, key) - len(gone))
