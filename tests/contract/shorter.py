"""torchvision's deep networks with a block or two where they repeat many: every kind of block in a tenth of the time.

Whole ones run in ``benchmarks/zoo.py``.
"""

from functools import partial

from torch import nn
from torchvision.models import DenseNet, EfficientNet, MobileNetV2, MobileNetV3, RegNet, ResNet, ShuffleNetV2
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vgg import VGG, cfgs, make_layers


def _colour(in_channels: int) -> None:
    assert in_channels == 3, "these read three channels"


def densenet121(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = DenseNet(32, (2, 2, 2, 2), 64, num_classes=num_classes)
    return model


def efficientnet_b0(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    block = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    blocks = [
        block(1, 3, 1, 32, 16, 1),
        block(6, 3, 2, 16, 24, 2),
        block(6, 5, 2, 24, 40, 1),
        block(6, 5, 1, 40, 80, 1),
    ]
    model: nn.Module = EfficientNet(blocks, 0.2, num_classes=num_classes, last_channel=320)
    return model


def resnet50(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = ResNet(Bottleneck, [2, 1, 1, 1], num_classes=num_classes)
    return model


def resnet18(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = ResNet(BasicBlock, [2, 1, 1, 1], num_classes=num_classes)
    return model


def regnet_y_400mf(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    params = BlockParams.from_init_params(depth=6, w_0=48, w_a=40.0, w_m=2.1, group_width=8, se_ratio=0.25)
    model: nn.Module = RegNet(params, num_classes=num_classes)
    return model


def shufflenet_v2_x1_0(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = ShuffleNetV2([2, 2, 2], [24, 116, 232, 464, 1024], num_classes=num_classes)
    return model


def shufflenet_v2_x0_5(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 1024], num_classes=num_classes)
    return model


def convnext_tiny(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    model: nn.Module = ConvNeXt(
        [CNBlockConfig(96, 192, 1), CNBlockConfig(192, 384, 1), CNBlockConfig(384, None, 1)],
        0.1,
        num_classes=num_classes,
    )
    return model


def mobilenet_v2(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Of grey images too."""
    blocks = [[1, 16, 1, 1], [6, 32, 2, 2], [6, 160, 2, 2]]
    model: nn.Module = MobileNetV2(num_classes, inverted_residual_setting=blocks)
    model.get_submodule("features.0").register_module("0", nn.Conv2d(in_channels, 32, 3, 2, 1, bias=False))
    return model


def mobilenet_v3_large(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    block = partial(InvertedResidualConfig, dilation=1, width_mult=1.0)
    blocks = [
        block(16, 3, 16, 16, False, "RE", 1),
        block(16, 3, 64, 24, False, "RE", 2),
        block(24, 5, 72, 40, True, "RE", 2),
        block(40, 5, 120, 40, True, "RE", 1),
        block(40, 3, 240, 80, False, "HS", 2),
        block(80, 3, 480, 112, True, "HS", 1),
    ]
    model: nn.Module = MobileNetV3(blocks, 256, num_classes=num_classes)
    return model


def mobilenet_v3_small(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    _colour(in_channels)
    block = partial(InvertedResidualConfig, dilation=1, width_mult=1.0)
    blocks = [
        block(16, 3, 16, 16, True, "RE", 2),
        block(16, 3, 72, 24, False, "RE", 2),
        block(24, 3, 88, 24, False, "RE", 1),
        block(24, 5, 96, 40, True, "HS", 2),
        block(40, 5, 240, 40, True, "HS", 1),
    ]
    model: nn.Module = MobileNetV3(blocks, 1024, num_classes=num_classes)
    return model


def vgg11_bn(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Its three fully connected layers of 4,096 numbers are of 256 here."""
    _colour(in_channels)
    model: nn.Module = VGG(make_layers(cfgs["A"], batch_norm=True), num_classes=num_classes, init_weights=False)
    layers = (nn.Linear(512, 256), nn.ReLU(True), nn.Dropout(), nn.Linear(256, 256), nn.ReLU(True), nn.Dropout())
    model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Sequential(*layers, nn.Linear(256, num_classes))
    return model
