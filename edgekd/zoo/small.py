"""Networks for microcontrollers, as the benchmark MLPerf Tiny has them (its fourth is ``resnet8``).

Source: Banbury et al. (2021), "MLPerf Tiny Benchmark", table 1.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgekd.ondevice.sizes import sides
from edgekd.zoo.spec import ModelSpec

BOTTLENECK = 8
"""Outputs of the encoder; the narrowest layer of the autoencoder that it is half of."""
MOBILENET_WIDTHS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels and stride of each separable convolution, behind a stem of 32 channels."""


class Convolutional(nn.Module):
    """A stem, separable convolutions, a classifier on the mean over all places.

    Args:
        stem: a convolution and what follows it.
        blocks: channels and stride of each separable convolution.
        channels: of the stem.
        num_classes: outputs.
        dropout: share of the last features that training leaves out.
    """

    def __init__(
        self, stem: nn.Module, blocks: list[tuple[int, int]], channels: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        inputs = [channels, *(width for width, _ in blocks)]
        separable = [_separable(before, *block) for before, block in zip(inputs[:-1], blocks, strict=True)]
        self.stem, self.blocks = stem, nn.Sequential(*separable)
        self.dropout, self.avgpool = nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs[-1], num_classes)
        _draw_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        features = self.avgpool(self.blocks(self.stem(images)))
        logits: Tensor = self.fc(self.dropout(torch.flatten(features, 1)))
        return logits


def ds_cnn(spec: ModelSpec) -> nn.Module:
    """For keywords: a 10x4 stem over 49x10 cepstra or mel bands, four separable convolutions of 64 channels.

    Source: Zhang, Suda, Lai, Chandra (2017), "Hello Edge", DS-CNN-S.
    """
    width = _width(64, spec)
    stem = _with_norm(nn.Conv2d(spec.in_channels, width, (10, 4), 2, (5, 1), bias=False))
    return Convolutional(stem, [(width, 1)] * 4, width, spec.num_classes, dropout=0.4)


def mobilenet_v1(spec: ModelSpec) -> nn.Module:
    """Thirteen separable convolutions; MLPerf Tiny's has ``width_mult: 0.25`` at 96x96.

    Source: Howard et al. (2017).
    """
    stride = 1 if spec.small_stem else 2
    stem = _with_norm(nn.Conv2d(spec.in_channels, _width(32, spec), 3, stride, 1, bias=False))
    blocks = [(_width(channels, spec), step) for channels, step in MOBILENET_WIDTHS]
    return Convolutional(stem, blocks, _width(32, spec), spec.num_classes, dropout=0.0)


def dense_encoder(spec: ModelSpec) -> nn.Module:
    """Four fully connected layers of 128 and one of 8: half of an autoencoder, as a classifier; no convolution."""
    height, width = sides(spec.image_size)
    hidden = _width(128, spec)
    widths = [height * width * spec.in_channels, *[hidden] * 4, BOTTLENECK]
    layers = [
        nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
        for inputs, outputs in pairwise(widths)
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(BOTTLENECK, spec.num_classes))


SMALL: dict[str, Callable[[ModelSpec], nn.Module]] = {
    "ds_cnn": ds_cnn,
    "mobilenet_v1": mobilenet_v1,
    "dense_encoder": dense_encoder,
}
"""By the name in a pipeline file."""


def _width(channels: int, spec: ModelSpec) -> int:
    return max(8, round(channels * spec.width_mult))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    return nn.Sequential(_with_norm(depthwise), _with_norm(nn.Conv2d(inputs, outputs, 1, bias=False)))


def _with_norm(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


def _draw_convolutions(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
