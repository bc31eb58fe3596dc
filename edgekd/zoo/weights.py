"""Loads given weights without executing code, fits them to a network, and converts its input to edgekd's pixels."""

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.data import PIXEL_CENTRE, PIXEL_SCALE
from edgekd.errors import ModelError
from edgekd.zoo import TIMM, Ends, ModelSpec, cifar_resnet_depth, ends_of, example_images

IMAGENET = "imagenet"
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Auxiliary heads of GoogLeNet and Inception, which edgekd leaves out."""


@dataclass(frozen=True)
class Normalization:
    """What a network expects of its images: ``(pixel / 255 - mean) / std`` for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET_PIXELS = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EDGEKD_PIXELS = Normalization((PIXEL_CENTRE / 255,), (PIXEL_SCALE / 255,))
"""What edgekd feeds: ``(pixel - 128) / 64``."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors or a PyTorch file; a checkpoint's ``state_dict`` or ``model`` is looked into.

    Raises:
        ModelError: the file is missing, contains code or no tensors, or claims larger tensors than it stores.
    """
    try:
        found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except FileNotFoundError:
        raise ModelError(str(path), "is missing", "check the path") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "save the state_dict alone, or as safetensors"
        raise ModelError(str(path), f"is not a weights file ({reason[:120]})", remedy) from None
    for key in ("state_dict", "model_state_dict", "model", "model_state", "state_dict_ema"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(str(path), "holds no tensors by name", "save model.state_dict()")
    odd = [str(name) for name, value in found.items() if not _is_dense(value)]
    if odd:
        raise ModelError(
            str(path), f"{odd[0][:60]!r} is not a dense array of numbers", "save a float network's state_dict()"
        )
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _read_torch(path: Path) -> Any:
    """The content of a PyTorch file; code in it and zip bombs are refused."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch never compresses: an archive that unpacks to more than its size is a zip bomb.
            if sum(item.file_size for item in archive.infolist()) > path.stat().st_size:
                raise ValueError("it unpacks to more than its own size")
    with warnings.catch_warnings():
        # torch warns about odd pickles before it refuses them.
        warnings.simplefilter("ignore")
        return torch.load(path, "cpu", weights_only=True)


def _is_dense(value: Tensor) -> bool:
    """Is every number stored? Sparse and expanded tensors can claim any size."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def imagenet_weights(name: str) -> tuple[dict[str, Tensor], Normalization]:
    """torchvision's or timm's weights for an architecture, and the pixels that they expect.

    Raises:
        ModelError: there are none, or they are not on this machine and cannot be downloaded.
    """
    check_imagenet(name)
    try:
        return _timm_weights(name.removeprefix(TIMM)) if name.startswith(TIMM) else _torchvision_weights(name)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            "weights", f"the weights of {name} cannot be downloaded ({reason[:120]})", "give a file: weights: PATH"
        ) from None


def check_imagenet(name: str) -> None:
    """Raise ModelError if there are no ImageNet weights for an architecture."""
    if not _offered(name):
        raise ModelError("weights", f"there are no ImageNet weights of {name}", "give a file: weights: PATH")


def imagenet_version(name: str) -> str:
    """Which ImageNet weights ``imagenet`` stands for: the default changes with the library's version.

    Raises:
        ModelError: there are none.
    """
    check_imagenet(name)
    if name.startswith(TIMM):
        import timm

        about = timm.get_pretrained_cfg(name.removeprefix(TIMM)).to_dict()
        places = ("architecture", "tag", "url", "hf_hub_id", "hf_hub_filename")
        return " ".join(f"{place}={about[place]}" for place in places if about.get(place))
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name).DEFAULT
    return f"{weights} {weights.url}"


def _offered(name: str) -> bool:
    if name.startswith(TIMM):
        import timm

        return bool(timm.models.is_model_pretrained(name.removeprefix(TIMM)))
    import torchvision

    builders = torchvision.models.list_models(module=torchvision.models)
    return cifar_resnet_depth(name) is None and name in builders


def _torchvision_weights(name: str) -> tuple[dict[str, Tensor], Normalization]:
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name).DEFAULT
    rule = weights.transforms()
    state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return dict(state), Normalization(tuple(rule.mean), tuple(rule.std))


def _timm_weights(name: str) -> tuple[dict[str, Tensor], Normalization]:
    import timm

    model = timm.create_model(name, pretrained=True)
    about = model.pretrained_cfg
    return model.state_dict(), Normalization(tuple(about["mean"]), tuple(about["std"]))


def needs_stem_bias(normalization: Normalization) -> bool:
    """Does folding this normalisation need a bias in the first convolution?"""
    _, shifts = _as_edgekd(normalization)
    return bool((shifts.abs() > 1e-9).any())


def _as_edgekd(normalization: Normalization) -> tuple[Tensor, Tensor]:
    """Factors and shifts per channel: ``(pixel / 255 - mean) / std = factor * (pixel - 128) / 64 + shift``."""
    mean = torch.tensor(normalization.mean, dtype=torch.float64)
    std = torch.tensor(normalization.std, dtype=torch.float64)
    return PIXEL_SCALE / (255 * std), (PIXEL_CENTRE / 255 - mean) / std


def give_weights(
    model: nn.Module, spec: ModelSpec, given: Mapping[str, Tensor], normalization: Normalization
) -> list[str]:
    """Load weights into a network in place, and fold their normalisation into its first convolution.

    Args:
        model: what ``build(spec)`` made.
        spec: with ``stem_bias`` where ``needs_stem_bias``.
        given: tensors by name.
        normalization: what the weights expect of the images.

    Returns:
        What had to be changed, for the user.

    Raises:
        ModelError: the weights are of another network.
    """
    ends, own = ends_of(model, example_images(spec)), model.state_dict()
    stems = _stems(model, ends, normalization)
    optional = {f"{name}.bias" for name in stems} if spec.stem_bias else set()
    state, notes = _by_name(own, given, optional)
    if len(ends.heads) == 1:
        notes += _without_head(ends.heads[0], own, state)
    for name, stem in stems.items():
        notes += _fit_stem(name, stem, state, normalization)
    _check_fits(own, state, optional, spec.name)
    model.load_state_dict(state, strict=False)
    return notes


def _by_name(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], optional: set[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the network's names; where no name is known, in order, if every shape but the head's agrees."""
    state = {name: value for name, value in given.items() if name in own or not name.startswith(AUXILIARY)}
    names = [name for name in own if name not in optional]
    if set(state) & set(own) or not _in_same_order(names, own, state):
        return state, []
    renamed = dict(zip(names, state.values(), strict=True))
    return renamed, [
        "the weights use other names than the network: taken in order, as kinds and shapes agree throughout"
    ]


ALIASES = {
    "gamma": "weight", "kernel": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var", "moving_var": "running_var",
}  # fmt: skip
"""Other libraries' names for a layer's tensors."""


def _in_same_order(names: list[str], own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    """Can tensors be paired by order: the same kinds, grouped in the same layers, with the same shapes?

    By shapes alone a norm's mean and variance could be swapped. Only the number of classes may differ.
    """
    if len(names) != len(given):
        return False
    places = [_place(name) for name in names], [_place(name) for name in given]
    kinds, borders = ([[part[i] for part in side] for side in places] for i in (1, 0))
    shapes = zip((own[name].shape for name in names), (value.shape for value in given.values()), strict=True)
    return (
        kinds[0] == kinds[1] and _borders(borders[0]) == _borders(borders[1]) and all(a[1:] == b[1:] for a, b in shapes)
    )


def _place(name: str) -> tuple[str, str]:
    """The layer that a tensor is of, and what it is there."""
    layer, _, kind = name.rpartition(".")
    return layer, ALIASES.get(kind, kind)


def _borders(layers: list[str]) -> list[bool]:
    """Where one layer's tensors end and another's begin."""
    return [one != other for one, other in pairwise(layers)]


def _stems(model: nn.Module, ends: Ends, normalization: Normalization) -> dict[str, nn.Conv2d]:
    """The convolutions that a normalisation is folded into.

    Raises:
        ModelError: the image is changed before them, or reaches another kind of layer.
    """
    layers = {name: model.get_submodule(name) for name in ends.stems}
    found = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    if normalization == EDGEKD_PIXELS:
        return found
    others = [name for name in layers if name not in found]
    if ends.changed:
        raise _unfolded(f"the network changes the image before its first convolution ({', '.join(ends.changed)})")
    if others:
        raise _unfolded(f"{others[0]} reads the image too, and is not a convolution")
    return found


def _unfolded(why: str) -> ModelError:
    remedy = "fold it into the weights yourself, for (pixel - 128) / 64, and say normalization: edgekd"
    return ModelError("normalization", f"cannot be folded into the network: {why}", remedy)


def _without_head(head: str, own: Mapping[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Leave out a classifier with another number of classes: the network keeps its new one."""
    given = state.get(f"{head}.weight")
    if given is None or len(given) == len(own[f"{head}.weight"]):
        return []
    for key in ("weight", "bias"):
        state.pop(f"{head}.{key}", None)
        state |= {name: value for name, value in own.items() if name == f"{head}.{key}"}
    found, wanted = len(given), len(own[f"{head}.weight"])
    return [f"the weights tell {found} classes apart, the data {wanted}: the last layer ({head}) is new, train it"]


def _fit_stem(name: str, stem: nn.Conv2d, state: dict[str, Tensor], normalization: Normalization) -> list[str]:
    """Fold the normalisation into the first convolution, and sum its channels where the images are grey."""
    key = f"{name}.weight"
    if key not in state:
        return []
    weight, bias = fold_normalization(state[key], state.get(f"{name}.bias"), normalization)
    notes = []
    if stem.in_channels == 1 and weight.shape[1] > 1:
        # The sum is what the kernel gives for three equal channels.
        weight = weight.sum(1, keepdim=True)
        notes.append("the images are grey: the first convolution's channels were summed")
    if weight.shape[1:] != stem.weight.shape[1:]:
        state[key] = stem.weight.detach()
        state.pop(f"{name}.bias", None)
        given, own = ("x".join(map(str, shape[1:])) for shape in (weight.shape, stem.weight.shape))
        return [f"the first convolution is new: channels and kernel are {own}, the weights' {given}; train it"]
    state[key] = weight
    if stem.bias is not None:
        state[f"{name}.bias"] = bias
    return notes


def fold_normalization(weight: Tensor, bias: Tensor | None, normalization: Normalization) -> tuple[Tensor, Tensor]:
    """A first convolution whose output for ``(pixel - 128) / 64`` is the old one's for ``(pixel / 255 - mean) / std``.

    Equal wherever the kernel lies inside the image. Beyond the border, zero padding that stood for the mean colour now
    stands for 128.

    Args:
        weight: shape ``(outputs, channels, height, width)``.
        bias: shape ``(outputs,)`` or None.
        normalization: one mean and std for each channel, or one for all.

    Returns:
        Weight and bias, float32.

    Raises:
        ModelError: it has another number of channels than the weights.
    """
    channels = len(normalization.mean)
    if channels not in (1, weight.shape[1]):
        problem = f"has {channels} channels, the weights' first convolution reads {weight.shape[1]}"
        raise ModelError("normalization", problem, "give a mean and a std for each channel that the weights read")
    factors, shifts = _as_edgekd(normalization)
    exact = weight.double()
    moved = (exact * shifts.reshape(1, -1, 1, 1)).sum((1, 2, 3))
    if bias is not None:
        moved = moved + bias.double()
    return (exact * factors.reshape(1, -1, 1, 1)).float(), moved.float()


def _check_fits(own: Mapping[str, Tensor], state: Mapping[str, Tensor], optional: set[str], name: str) -> None:
    # Weights from other libraries and old torch versions lack these counters, which evaluation never reads.
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(state) - optional - counters)
    unknown = sorted(set(state) - set(own))
    other = sorted(key for key in set(own) & set(state) if own[key].shape != state[key].shape)
    for problem, keys in (
        ("lack", missing),
        ("have, unknown to the network,", unknown),
        ("have other shapes in", other),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ModelError(
                "weights", f"they do not fit {name}: they {problem} {', '.join(keys[:3])}{more}", f"are they {name}'s?"
            )
