"""ResNets for small images."""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cifar_resnet_depth(name: str) -> int | None:
    """The depth that a CIFAR-style name carries: 6n+2 layers; None for every other name.

    >>> cifar_resnet_depth("resnet20"), cifar_resnet_depth("resnet18"), cifar_resnet_depth("resnet50")
    (20, None, None)
    """
    match = re.fullmatch(r"resnet([0-9]{1,3})", name)
    depth = int(match.group(1)) if match else 0
    # 50 is 6n+2 too, but ``resnet50`` means torchvision's.
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
