"""Ten networks as users write them, each with a habit that the zoo's networks do not have.

A pipeline file names them as ``tests.contract.unseen:NAME``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv_norm(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1) -> nn.Sequential:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False), nn.BatchNorm2d(outputs))


class _SharedModules(nn.Module):
    """One block is applied three times, as recurrent networks do."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem, self.block = _conv_norm(channels, 32, stride=2), _conv_norm(32, 32)
        self.last, self.fc = _conv_norm(32, 64, stride=2), nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.stem(images))
        for _ in range(3):
            features = F.relu(features + self.block(features))
        logits: Tensor = self.fc(F.relu(self.last(features)).mean([2, 3]))
        return logits


class _TiedWeights(nn.Module):
    """Two layers hold one and the same parameter."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = _conv_norm(channels, 32, stride=2)
        self.first, self.second = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.second.weight = self.first.weight
        self.last, self.fc = _conv_norm(32, 64, stride=2), nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.first(F.relu(self.stem(images))))
        features = F.relu(self.last(F.relu(self.second(features))))
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(features, 1).view(features.size(0), -1))
        return logits


class _OneActivation(nn.Module):
    """One ReLU module serves every layer, in place."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.conv1, self.bn1 = nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv2, self.conv3 = nn.Conv2d(32, 48, 3, padding=1), nn.Conv2d(48, 48, 3, padding=1)
        self.drop, self.fc1, self.fc2 = nn.Dropout(0.1), nn.Linear(48, 32), nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.pool(self.relu(self.bn1(self.conv1(images))))
        features = self.pool(self.relu(self.conv2(features)))
        features = self.relu(self.conv3(features) + features)
        features = torch.flatten(F.adaptive_avg_pool2d(features, (1, 1)), 1)
        logits: Tensor = self.fc2(self.drop(self.relu(self.fc1(features))))
        return logits


class _DilatedAndAsymmetric(nn.Module):
    """Dilation, kernels of unequal sides, strides and paddings of unequal sides, padding that is a layer."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ZeroPad2d((1, 2, 1, 2)),
            nn.Conv2d(channels, 32, 4, stride=(2, 1)),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 48, (3, 5), stride=(1, 2), padding=(1, 2)),
            nn.LeakyReLU(0.1),
            nn.Conv2d(48, 48, 3, padding="same", padding_mode="zeros"),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


class _DepthwiseMultiplier(nn.Module):
    """Depthwise convolutions that give each channel two."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem, self.depthwise = _conv_norm(channels, 16, stride=2), nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.pointwise, self.deeper = _conv_norm(32, 32, 1), nn.Conv2d(32, 64, 3, 2, 1, groups=32, bias=False)
        self.norm, self.fc = nn.BatchNorm2d(64), nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.depthwise(torch.relu(self.stem(images))))
        features = torch.relu(self.norm(self.deeper(torch.relu(self.pointwise(features)))))
        logits: Tensor = self.fc(features.mean(-1).mean(-1))
        return logits


class _OneDimensional(nn.Module):
    """Rows first, then columns, as spectrograms are read; pooled along one axis at a time."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.rows, self.columns = _conv_norm(channels, 32, (1, 7)), _conv_norm(32, 48, (7, 1))
        self.more, self.fc = _conv_norm(48, 48, (1, 3)), nn.Linear(48, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.max_pool2d(F.relu(self.rows(images)), (1, 2))
        features = F.max_pool2d(F.relu(self.columns(features)), (2, 1))
        features = F.relu6(self.more(features))
        logits: Tensor = self.fc(features.mean(dim=3).amax(dim=2))
        return logits


class _Excitation(nn.Module):
    """Squeeze and excitation by fully connected layers, broadcast with view and expand_as."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, _, _ = features.size()
        gates: Tensor = self.fc(F.adaptive_avg_pool2d(features, 1).view(batch, channels)).view(batch, channels, 1, 1)
        return features * gates.expand_as(features)


class _SqueezeExcite(nn.Module):
    """Residual blocks with squeeze and excitation, and SiLU."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem, self.conv, self.gate = _conv_norm(channels, 32, stride=2), _conv_norm(32, 32), _Excitation(32)
        self.last, self.last_gate = _conv_norm(32, 64, stride=2), _Excitation(64)
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.silu(self.stem(images))
        features = features + self.gate(F.silu(self.conv(features)))
        features = self.last_gate(F.silu(self.last(features)))
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(features, 1).flatten(1))
        return logits


class _FourBranches(nn.Module):
    """Four branches side by side, concatenated; one of them pools."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = _conv_norm(channels, 32, stride=2)
        self.one, self.three, self.five = _conv_norm(32, 16, 1), _conv_norm(32, 32, 3), _conv_norm(32, 16, 5)
        self.pooled, self.mix = _conv_norm(32, 16, 1), _conv_norm(80, 64, 1)
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.stem(images))
        pooled = self.pooled(F.avg_pool2d(features, 3, 1, 1))
        branches = [self.one(features), self.three(features), self.five(features), pooled]
        features = F.relu(self.mix(F.relu(torch.cat(branches, 1))))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


class _TwoHeads(nn.Module):
    """A second head is computed and dropped; the layers are registered last to first."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.fc, self.auxiliary = nn.Linear(64, classes), nn.Linear(32, 7)
        self.last, self.middle, self.stem = _conv_norm(32, 64, stride=2), _conv_norm(32, 32), _conv_norm(channels, 32)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.middle(F.max_pool2d(F.relu(self.stem(images)), 2)))
        outputs = {"main": self.fc(F.relu(self.last(features)).mean((2, 3)))}
        outputs["auxiliary"] = self.auxiliary(features.mean((2, 3)))
        logits: Tensor = outputs["main"]
        return logits


class _Patches(nn.Module):
    """A stem of stride 4 whose patches do not overlap, depthwise mixing, GELU, and its own normalisation of pixels."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(0.1))
        self.stem, self.norm = nn.Conv2d(channels, 48, 4, 4), nn.BatchNorm2d(48)
        self.mixers = nn.ModuleList(nn.Conv2d(48, 48, 3, padding=1, groups=48) for _ in range(2))
        self.grow, self.shrink = nn.Conv2d(48, 96, 1), nn.Conv2d(96, 48, 1)
        self.head = nn.Conv2d(48, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(F.gelu(self.stem((images - self.mean) / 0.9)))
        for mixer in self.mixers:
            features = features + F.gelu(mixer(features))
        features = features + self.shrink(F.gelu(self.grow(features)))
        logits: Tensor = F.adaptive_avg_pool2d(self.head(features), 1).squeeze(-1).squeeze(-1)
        return logits


def shared_modules(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _SharedModules(num_classes, in_channels)


def tied_weights(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _TiedWeights(num_classes, in_channels)


def one_activation(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _OneActivation(num_classes, in_channels)


def dilated_and_asymmetric(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _DilatedAndAsymmetric(num_classes, in_channels)


def depthwise_multiplier(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _DepthwiseMultiplier(num_classes, in_channels)


def one_dimensional(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _OneDimensional(num_classes, in_channels)


def squeeze_excite(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _SqueezeExcite(num_classes, in_channels)


def four_branches(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _FourBranches(num_classes, in_channels)


def two_heads(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _TwoHeads(num_classes, in_channels)


def patches(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return _Patches(num_classes, in_channels)


NAMES = (
    "shared_modules", "tied_weights", "one_activation", "dilated_and_asymmetric", "depthwise_multiplier",
    "one_dimensional", "squeeze_excite", "four_branches", "two_heads", "patches",
)  # fmt: skip
