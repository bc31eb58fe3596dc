"""Architectures by name, with the stem a small image needs, and their widths after pruning."""

import re
from collections.abc import Mapping
from types import MethodType
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config import Settings
from edgekd.errors import ModelError
from edgekd.functions import is_function, named_function

SMALL_IMAGE = 64
"""Up to this many pixels a side the stem keeps the resolution (stride 1)."""


TIMM = "timm/"
"""Begins the name of a network that timm builds."""


class ModelSpec(Settings):
    """How a network is built, before any pruning."""

    name: str = Field(
        description="torchvision's name, timm/NAME, package.module:name, or resnet8, resnet14, ... (CIFAR style)"
    )
    num_classes: int = Field(ge=2, description="outputs of the classifier")
    in_channels: int = Field(ge=1, description="channels of the image")
    image_size: int = Field(ge=8, description="pixels a side")
    width_mult: float = Field(
        1.0, gt=0, le=8, description="multiplies every layer's channels, where the architecture has it"
    )
    activations: Literal["relu", "relu6"] | None = Field(None, description="in place of HardSwish and SiLU")
    stem_bias: bool = Field(False, description="the first convolution has a bias: a folded normalisation needs one")


def build(spec: ModelSpec) -> nn.Module:
    """A network with fresh weights drawn from torch's global generator.

    Raises:
        ModelError: nobody knows the name, the architecture has no width multiplier or does not take such images.
    """
    depth = cifar_resnet_depth(spec.name)
    if depth is not None:
        width = max(1, round(16 * spec.width_mult))
        model: nn.Module = CifarResNet(depth, spec.num_classes, spec.in_channels, width)
    elif is_function(spec.name):
        model = _own(spec)
    else:
        model = _with_input(_timm(spec) if spec.name.startswith(TIMM) else _torchvision(spec), spec)
    if spec.activations is not None:
        _swap_activations(model, spec.activations)
    _, stem = first_convolution(model)
    if spec.stem_bias and stem.bias is None:
        stem.bias = nn.Parameter(torch.zeros(stem.out_channels))
    return _checked(model, spec)


def known_models() -> list[str]:
    """Every name that ``build`` takes; CIFAR-style ResNets of other depths (6n+2) and ``timm/NAME`` besides."""
    import torchvision

    return sorted([*torchvision.models.list_models(module=torchvision.models), "resnet8", "resnet14", "resnet20"])


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
    return f"did you mean {', '.join(near)}?" if near else "any torchvision classifier or resnet8, resnet14, resnet20"


def _torchvision(spec: ModelSpec) -> nn.Module:
    import torchvision

    check_name(spec.name)
    extra: dict[str, Any] = {} if spec.width_mult == 1.0 else {"width_mult": spec.width_mult}
    if spec.name in ("googlenet", "inception_v3"):
        extra |= {"aux_logits": False, "init_weights": False}
    try:
        model: nn.Module = torchvision.models.get_model(spec.name, weights=None, num_classes=spec.num_classes, **extra)
    except TypeError:
        raise ModelError("model", f"{spec.name} has no width multiplier", "leave width_mult out") from None
    if isinstance(model, torchvision.models.MNASNet):  # its own loader refuses tensors that come without a version
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
"""Functions that a pipeline file names; a model folder from elsewhere may name none."""


def _own(spec: ModelSpec) -> nn.Module:
    """What a user's function builds: it is told the classes, the image's channels and its size."""
    if spec.name not in _own_functions:
        raise ModelError("model", f"{spec.name!r} is named by no pipeline file", "name it as a stage's model")
    if spec.width_mult != 1.0:
        raise ModelError("model", f"{spec.name} has no width multiplier", "leave width_mult out")
    function = named_function(spec.name, "model")
    asked = {"num_classes": spec.num_classes, "in_channels": spec.in_channels, "image_size": spec.image_size}
    try:
        model = function(**asked)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        keys = ", ".join(asked)
        raise ModelError("model", f"{spec.name} fails ({reason})", f"it is called with {keys}") from None
    if not isinstance(model, nn.Module):
        raise ModelError("model", f"{spec.name} gives a {type(model).__name__}", "give a torch.nn.Module")
    return model


def _checked(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """The model, if images of this size go through it."""
    size = f"{spec.image_size}x{spec.image_size} images"
    try:
        with torch.inference_mode():
            answer = model.eval()(example_images(spec))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError("model", f"{spec.name} does not take {size} ({reason})", "choose another image_size") from None
    if not isinstance(answer, Tensor) or answer.shape != (1, spec.num_classes):
        raise ModelError("model", f"{spec.name} gives no logits for {size}", "choose another architecture")
    return model.train()


def _with_input(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """Fit the first convolution to the image's channels and, for a small image, keep its resolution."""
    name, stem = first_convolution(model)
    small = spec.image_size <= SMALL_IMAGE
    if stem.in_channels == spec.in_channels and not small:
        return model
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


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and layer of the convolution that reads the image.

    Raises:
        ModelError: the network has none.
    """
    found = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), None)
    if found is None:
        raise ModelError("model", "the network has no convolution", "choose another architecture")
    return found


def cifar_resnet_depth(name: str) -> int | None:
    """The depth that a CIFAR-style name carries: 6n+2 layers; None for every other name.

    >>> cifar_resnet_depth("resnet20"), cifar_resnet_depth("resnet18"), cifar_resnet_depth("resnet50")
    (20, None, None)
    """
    match = re.fullmatch(r"resnet([0-9]{1,3})", name)
    depth = int(match.group(1)) if match else 0
    return depth if 8 <= depth <= 110 and depth % 6 == 2 and depth != 50 else None


class CifarResNet(nn.Module):
    """ResNet for small images: three groups of residual blocks at full, half and quarter resolution.

    Args:
        depth: 6n+2 layers.
        num_classes: outputs.
        in_channels: of the image.
        width: channels of the first group; the next ones double it.

    Source: He, Zhang, Ren, Sun (2015), section 4.2; shortcuts are 1x1 convolutions where shapes change.
    """

    def __init__(self, depth: int, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _group(width, width, blocks, 1)
        self.layer2 = _group(width, 2 * width, blocks, 2)
        self.layer3 = _group(2 * width, 4 * width, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(features), 1))
        return logits


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images)))))
        return F.relu(inner + self.shortcut(images))


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(inputs, outputs, stride)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def with_activations(model: nn.Module, spec: ModelSpec, activations: str) -> tuple[nn.Module, ModelSpec]:
    """A copy of a network, its weights and widths kept, with other activations; and how it is built."""
    other = spec.model_copy(update={"activations": activations})
    twin = with_widths(build(other), widths(model))
    twin.load_state_dict(model.state_dict())
    return twin.eval(), other


def _swap_activations(model: nn.Module, activations: str) -> None:
    """Put ReLU or ReLU6 in place of HardSwish and SiLU; gates (sigmoids) stay."""
    smooth = [name for name, module in model.named_modules() if isinstance(module, nn.Hardswish | nn.SiLU)]
    if not smooth:
        raise ModelError("activations", "the network has no HardSwish or SiLU to replace", "leave activations out")
    for name in smooth:
        model.set_submodule(name, nn.ReLU(inplace=True) if activations == "relu" else nn.ReLU6(inplace=True))


WIDTH_ATTRIBUTES = ("in_channels", "out_channels", "groups", "num_features", "in_features", "out_features")


def widths(model: nn.Module) -> dict[str, dict[str, int]]:
    """Every layer's channel counts by name: with the architecture's name, all that a pruned network needs."""
    found = {name: _layer_widths(module) for name, module in model.named_modules()}
    return {name: about for name, about in found.items() if about}


def _layer_widths(module: nn.Module) -> dict[str, int]:
    if not isinstance(getattr(module, "weight", None), Tensor):
        return {}
    return {key: value for key in WIDTH_ATTRIBUTES if isinstance(value := getattr(module, key, None), int)}


def with_widths(model: nn.Module, wanted: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """Give a freshly built network the widths that pruning left; its weights are empty until they are loaded.

    Raises:
        ModelError: a layer is not in the network or is of no kind that has widths.
    """
    modules = dict(model.named_modules())
    for name, about in wanted.items():
        if name not in modules:
            raise ModelError(
                name, "the network has no such layer", "the artifact is of another architecture or version"
            )
        if _layer_widths(modules[name]) != dict(about):
            _resize(modules[name], about, name)
    return model


def _resize(module: nn.Module, about: Mapping[str, int], name: str) -> None:
    for key, value in about.items():
        setattr(module, key, value)
    match module:
        case nn.Conv2d():
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            sizes = {"weight": shape, "bias": (module.out_channels,)}
        case nn.Linear():
            sizes = {"weight": (module.out_features, module.in_features), "bias": (module.out_features,)}
        case nn.BatchNorm2d():
            sizes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (module.num_features,))
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


def count_macs(model: nn.Module, spec: ModelSpec) -> int:
    """Multiply-accumulates of the convolutions and fully connected layers for one image."""
    macs = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += output[0].numel() * module.in_features

    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
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


def example_images(spec: ModelSpec, batch: int = 1) -> Tensor:
    """Black images as a network sees them: shape ``(batch, channels, size, size)``, channels last in memory."""
    size = spec.image_size
    return torch.full((batch, spec.in_channels, size, size), -2.0).to(memory_format=torch.channels_last)
