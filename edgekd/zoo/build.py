"""Architectures by name: torchvision's, timm's, small ones, a user's own; the stem that a small image needs."""

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.config.functions import is_function, named_function
from edgekd.errors import ModelError
from edgekd.ondevice.sizes import size_in_words
from edgekd.zoo.cifar import CifarResNet, cifar_resnet_depth
from edgekd.zoo.ends import Ends, ends_of
from edgekd.zoo.small import SMALL
from edgekd.zoo.spec import AUTO, SMALL_IMAGE, ModelSpec, random_images

TIMM = "timm/"
"""Prefix of the name of a timm network."""


def build(spec: ModelSpec) -> nn.Module:
    """A network with fresh weights drawn from torch's global generator.

    Raises:
        ModelError: the name is unknown, the architecture has no width multiplier or does not take such images.
    """
    depth = cifar_resnet_depth(spec.name)
    if spec.stem != AUTO and not has_two_stems(spec.name):
        raise ModelError("stem", f"{spec.name} has one stem alone", "leave stem out")
    if depth is not None:
        width = max(1, round(16 * spec.width_mult))
        model: nn.Module = CifarResNet(depth, spec.num_classes, spec.in_channels, width)
    elif spec.name in SMALL:
        model = SMALL[spec.name](spec)
    elif is_function(spec.name):
        model = _own(spec)
    else:
        model = _with_input(_timm(spec) if spec.name.startswith(TIMM) else _torchvision(spec), spec)
    if spec.activations is not None:
        _swap_activations(model, spec.activations)
    ends = _checked(model, spec)
    for name in ends.stems if spec.stem_bias else ():
        stem = model.get_submodule(name)
        if isinstance(stem, nn.Conv2d) and stem.bias is None:
            stem.bias = nn.Parameter(torch.zeros(stem.out_channels))
    return model.train()


def has_two_stems(name: str) -> bool:
    """Is a network made for large images, so that small ones need another first convolution?"""
    made_for_one_size = {*SMALL} - {"mobilenet_v1"}
    return cifar_resnet_depth(name) is None and not is_function(name) and name not in made_for_one_size


def stem_in_words(spec: ModelSpec) -> str:
    """Which first convolution a network has, and why; empty where it has one alone."""
    if not has_two_stems(spec.name):
        return ""
    chosen = "small" if spec.small_stem else "standard"
    why = f" (auto: images {'up to' if spec.small_stem else 'above'} {SMALL_IMAGE} pixels)"
    return chosen + (why if spec.stem == AUTO else "")


def known_models() -> list[str]:
    """Every name that ``build`` takes; CIFAR-style ResNets of other depths (6n+2) and ``timm/NAME`` besides."""
    import torchvision

    small = [*SMALL, "resnet8", "resnet14", "resnet20"]
    return sorted([*torchvision.models.list_models(module=torchvision.models), *small])


def check_name(name: str) -> None:
    """Raise ModelError unless ``build`` knows the name."""
    if name.startswith(TIMM):
        _check_timm(name)
    elif is_function(name):
        named_function(name, "model")
        _own_functions.add(name)
    elif cifar_resnet_depth(name) is None and name not in known_models():
        raise ModelError("model", f"unknown model {name!r}", _close(name))


def _close(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, known_models(), n=3)
    others = ", ".join([*SMALL, "resnet8", "resnet14, resnet20"])
    return f"did you mean {', '.join(near)}?" if near else f"any torchvision classifier or {others}"


def _torchvision(spec: ModelSpec) -> nn.Module:
    import torchvision

    check_name(spec.name)
    extra: dict[str, Any] = {} if spec.width_mult == 1.0 else {"width_mult": spec.width_mult}
    if spec.name in ("googlenet", "inception_v3"):
        # Auxiliary heads make these networks return a tuple in training. Without init_weights torchvision 0.29 warns.
        extra |= {"aux_logits": False, "init_weights": False}
    try:
        model: nn.Module = torchvision.models.get_model(spec.name, weights=None, num_classes=spec.num_classes, **extra)
    # The builder does not know the argument width_mult.
    except TypeError:
        raise ModelError("model", f"{spec.name} has no width multiplier", "leave width_mult out") from None
    # MNASNet's own loader (torchvision 0.29.1) refuses tensors without a version number, which safetensors does not
    # keep.
    if isinstance(model, torchvision.models.MNASNet):
        model._load_from_state_dict = MethodType(nn.Module._load_from_state_dict, model)
    return model


def _check_timm(name: str) -> None:
    try:
        import timm
    except ImportError:
        raise ModelError("model", f"{name!r} needs timm", "pip install 'edgekd[timm]'") from None
    known, wanted = timm.list_models(), name.removeprefix(TIMM)
    if wanted not in known:
        import difflib

        near = difflib.get_close_matches(wanted, known, n=3)
        remedy = f"did you mean {', '.join(TIMM + word for word in near)}?" if near else "see timm.list_models()"
        raise ModelError("model", f"timm has no model {wanted!r}", remedy)


def _timm(spec: ModelSpec) -> nn.Module:
    check_name(spec.name)
    import timm

    if spec.width_mult != 1.0:
        raise ModelError("model", f"{spec.name} has no width multiplier", "leave width_mult out")
    name = spec.name.removeprefix(TIMM)
    model: nn.Module = timm.create_model(name, num_classes=spec.num_classes, in_chans=spec.in_channels)
    return model


_own_functions: set[str] = set()
"""Functions that this process's pipeline files name; an artifact may not name others."""


def _own(spec: ModelSpec) -> nn.Module:
    """The network that a user's function builds from the number of classes, the image's channels and its size."""
    # An artifact names its architecture: one from elsewhere must not make edgekd import code that no pipeline file
    # names.
    if spec.name not in _own_functions:
        raise ModelError("model", f"{spec.name!r} is named by no pipeline file", "name it as a stage's model")
    if spec.width_mult != 1.0:
        raise ModelError("model", f"{spec.name} has no width multiplier", "leave width_mult out")
    function = named_function(spec.name, "model")
    asked = {"num_classes": spec.num_classes, "in_channels": spec.in_channels, "image_size": spec.image_size}
    try:
        # The user's own code may raise anything.
        model = function(**asked)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        keys = ", ".join(asked)
        raise ModelError("model", f"{spec.name} fails ({reason})", f"it is called with {keys}") from None
    if not isinstance(model, nn.Module):
        raise ModelError("model", f"{spec.name} gives a {type(model).__name__}", "give a torch.nn.Module")
    return model


def _checked(model: nn.Module, spec: ModelSpec) -> Ends:
    """The ends of a model, after checking that it takes images of this size and returns logits."""
    size = f"{size_in_words(spec.image_size)} images"
    try:
        # Run once, so that a network which fails on such images is refused before any training.
        ends = ends_of(model, random_images(spec, 2))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError("model", f"{spec.name} does not take {size} ({reason})", "choose another image_size") from None
    shape = (2, spec.num_classes)
    if not isinstance(ends.answer, Tensor):
        raise ModelError("model", f"{spec.name} gives {_described(ends.answer)}", _what_to_take(ends.answer, shape))
    if ends.answer.shape != shape:
        found = f"{spec.name} gives no logits for {size}: of 2 images numbers of shape {tuple(ends.answer.shape)}"
        raise ModelError("model", found, f"give one for each image and class: {shape}")
    _refuse_probabilities(ends, spec)
    if not any(isinstance(model.get_submodule(name), nn.Conv2d | nn.Linear) for name in ends.stems):
        raise ModelError("model", "the network has no layer that reads the image", "choose another architecture")
    return ends


def _refuse_probabilities(ends: Ends, spec: ModelSpec) -> None:
    """A loss would apply softmax to a softmax, and training would silently stay at chance level."""
    rows = ends.answer.detach()
    word = ends.softmax
    if not word and bool((rows >= 0).all()) and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-4):
        word = "softmax"
    if word:
        problem = f"{spec.name} gives probabilities, not logits: it ends in a {word}"
        raise ModelError("model", problem, f"leave the {word} out: the losses have their own")


def _described(answer: Any) -> str:
    """What a network returned instead of a tensor, with the shapes of its parts."""
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} of {', '.join(f'{key!r} {_shape(value)}' for key, value in answer.items())}"
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {', '.join(f'item {i} {_shape(v)}' for i, v in enumerate(answer))}"
    return f"a {type(answer).__name__}"


def _what_to_take(answer: Any, shape: tuple[int, int]) -> str:
    items = (
        answer.items() if isinstance(answer, Mapping) else enumerate(answer) if isinstance(answer, tuple | list) else ()
    )
    fits = [key for key, value in items if isinstance(value, Tensor) and value.shape == shape]
    if not fits:
        return "return the logits alone, a tensor of shape (batch, classes)"
    return f"return the logits alone: {' or '.join(f'its [{key!r}]' for key in fits)} has their shape"


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _with_input(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """Fit the first convolution to the image's channels and, with a small stem, keep the image's resolution.

    The first one registered, because the network may not run on such images before it is fitted.
    """
    name, stem = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if stem is None:
        raise ModelError("model", "the network has no convolution", "choose another architecture")
    small = spec.small_stem
    if stem.in_channels == spec.in_channels and not small:
        return model
    # A 7x7 stem of stride 2 and the pool behind it would leave 8x8 pixels of a 32x32 image. CIFAR ResNets use 3x3 and
    # no pool.
    wide = small and stem.kernel_size[0] >= 7
    kernel, padding = (3, 1) if wide else (stem.kernel_size[0], stem.padding[0])
    fresh = nn.Conv2d(
        spec.in_channels,
        stem.out_channels,
        kernel,
        1 if small else stem.stride[0],
        int(padding),
        bias=stem.bias is not None,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(name, fresh)
    if wide and isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        model.maxpool = nn.Identity()
    return model


def _swap_activations(model: nn.Module, activations: str) -> None:
    """Put ReLU or ReLU6 in place of smooth activations; gates (sigmoids) stay."""
    smooth = {name: module for name, module in model.named_modules() if type(module).__name__ in _SMOOTH}
    if not smooth:
        raise ModelError("activations", "the network has no smooth activation to replace", "leave activations out")
    for name, module in smooth.items():
        clip = nn.ReLU if activations == "relu" else nn.ReLU6
        model.set_submodule(name, clip(inplace=getattr(module, "inplace", False)))


_SMOOTH = {"Hardswish", "SiLU", "GELU", "Mish", "HardSwish", "Swish", "GELUTanh", "QuickGELU", "HardMish"}
"""Classes of torch and of timm."""
