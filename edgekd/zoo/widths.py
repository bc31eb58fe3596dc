"""Channel counts of a network's layers: with the architecture's name enough to rebuild a pruned network."""

import json
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekd.config.functions import is_function, source_digest
from edgekd.errors import ModelError
from edgekd.zoo.build import build
from edgekd.zoo.spec import ModelSpec

WIDTH_ATTRIBUTES = (
    "in_channels", "out_channels", "groups", "num_features", "in_features", "out_features", "num_parameters",
)  # fmt: skip

Norm = nn.modules.batchnorm._NormBase
"""Batch and instance norms, which treat each channel separately."""

RESIZABLE = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, Norm, nn.PReLU)
"""Layer classes whose widths ``with_widths`` can restore."""


Widths = Mapping[str, Mapping[str, int]]
"""Channel counts by layer and attribute."""


def widths(model: nn.Module) -> dict[str, dict[str, int]]:
    """Every layer's channel counts by name."""
    found = {name: _layer_widths(module) for name, module in model.named_modules()}
    return {name: about for name, about in found.items() if about}


def fingerprint(model: nn.Module, spec: ModelSpec) -> str:
    """A text that is equal for networks which differ at most in their tensors.

    Args:
        model: of ``build(spec)``, perhaps pruned.
        spec: how it was built.
    """
    source = source_digest(spec.name) if is_function(spec.name) else ""
    return json.dumps([spec.model_dump(), widths(model), source], sort_keys=True)


def _layer_widths(module: nn.Module) -> dict[str, int]:
    if not isinstance(module, RESIZABLE) and not isinstance(getattr(module, "weight", None), Tensor):
        return {}
    return {key: value for key in WIDTH_ATTRIBUTES if isinstance(value := getattr(module, key, None), int)}


def with_widths(model: nn.Module, wanted: Widths) -> nn.Module:
    """Give a newly built network the widths that pruning left; resized weights are zero until they are loaded.

    Shared weights stay shared.

    Raises:
        ModelError: a layer is not in the network, cannot be resized, or shares weights with one of other widths.
    """
    # Before resizing, which gives every layer parameters of its own and so parts shared ones.
    modules, ties = dict(model.named_modules()), _ties(model)
    for name, about in wanted.items():
        if name not in modules:
            raise ModelError(
                name, "the network has no such layer", "the artifact is of another architecture or version"
            )
        if _layer_widths(modules[name]) != dict(about):
            _resize(modules[name], about, name)
    for names in ties:
        _tie(model, names)
    return model


def fresh_of_widths(spec: ModelSpec, wanted: Widths) -> nn.Module:
    """A network of those widths with fresh weights, drawn as ``build`` draws them.

    Of a newly built network each layer keeps its first channels. Weights are multiplied by the root of the ratio of the
    inputs that each output sums, before and after, so that the sums keep their variance.
    """
    model = build(spec)
    drawn = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model = with_widths(model, wanted)
    modules = dict(model.named_modules())
    model.load_state_dict(
        {
            name: _first_channels(drawn[name], tensor.shape, modules[name.rpartition(".")[0]])
            for name, tensor in model.state_dict().items()
        }
    )
    return model


def _first_channels(drawn: Tensor, shape: torch.Size, layer: nn.Module) -> Tensor:
    kept = drawn[tuple(slice(length) for length in shape)]
    if kept.dim() < 2 or kept.shape == drawn.shape:
        return kept
    # Of a transposed convolution the second dimension is the output's.
    output = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    return kept * math.sqrt(_inputs(drawn.shape, output) / _inputs(shape, output))


def _inputs(shape: torch.Size, output: int) -> int:
    return math.prod(shape) // shape[output]


def _ties(model: nn.Module) -> list[list[str]]:
    """The names of each parameter that has several."""
    found: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(parameter, []).append(name)
    return [names for names in found.values() if len(names) > 1]


def _tie(model: nn.Module, names: Sequence[str]) -> None:
    """Share a parameter again after resizing."""
    first = model.get_parameter(names[0])
    for name in names[1:]:
        if model.get_parameter(name).shape != first.shape:
            raise ModelError(
                name, f"is one with {names[0]}, but has another width", "the artifact is of another architecture"
            )
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, first)


def _resize(module: nn.Module, about: Mapping[str, int], name: str) -> None:
    for key, value in about.items():
        setattr(module, key, value)
    match module:
        case nn.Conv2d():
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            sizes = {"weight": shape, "bias": (module.out_channels,)}
        case nn.ConvTranspose2d():
            shape = (module.in_channels, module.out_channels // module.groups, *module.kernel_size)
            sizes = {"weight": shape, "bias": (module.out_channels,)}
        case nn.Linear():
            sizes = {"weight": (module.out_features, module.in_features), "bias": (module.out_features,)}
        case Norm():
            sizes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (module.num_features,))
        case nn.PReLU():
            sizes = {"weight": (module.num_parameters,)}
        case _:
            raise ModelError(
                name, f"a {type(module).__name__} cannot be given another width", "report the architecture"
            )
    for key, size in sizes.items():
        _replace(module, key, size)


def _replace(module: nn.Module, key: str, size: tuple[int, ...]) -> None:
    old = getattr(module, key)
    if isinstance(old, nn.Parameter):
        setattr(module, key, nn.Parameter(torch.zeros(size)))
    elif old is not None:
        setattr(module, key, torch.zeros(size))


def with_activations(model: nn.Module, spec: ModelSpec, activations: str) -> tuple[nn.Module, ModelSpec]:
    """A copy of a network, its weights and widths kept, with other activations; and how it is built."""
    other = spec.model_copy(update={"activations": activations})
    twin = with_widths(build(other), widths(model))
    twin.load_state_dict(model.state_dict())
    return twin.eval(), other
