"""Networks that hold what channels are hard to follow through, as a user may write them: ``tests.odd:NAME``."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer


def pixel_shuffle(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A PixelShuffle and a ConvTranspose2d side by side, put together; a PReLU with a slope per channel."""
    return _PixelShuffle(num_classes, in_channels)


class _PixelShuffle(nn.Module):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 32, 3, 2, 1), nn.PReLU(32))
        self.body = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.wide, self.shuffle = nn.Conv2d(64, 64, 3, padding=1), nn.PixelShuffle(2)
        self.first_up = nn.Sequential(nn.ConvTranspose2d(64, 64, 2, 2, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.mixed = nn.Conv2d(64, 32, 3, padding=1)
        self.join = nn.Sequential(nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.stem(images))
        both = torch.cat([self.shuffle(self.wide(maps)), self.mixed(self.first_up(maps)).relu()], 1)
        logits: Tensor = self.fc(self.join(both).mean((2, 3)))
        return logits


def halves(how: Callable[[Tensor], tuple[Tensor, ...]]) -> nn.Module:
    """One convolution used on both halves of the channels, which ``how`` takes apart; of 3 classes and a grey image."""
    return _Halves(how)


class _Halves(nn.Module):
    def __init__(self, how: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.how = how
        self.stem, self.both = nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.join, self.last, self.fc = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 32, 3), nn.Linear(32, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.cat([self.both(part) for part in self.how(self.stem(images).relu())], 1).relu()
        logits: Tensor = self.fc(self.last(self.join(maps).relu()).relu().mean((2, 3)))
        return logits


def shared_group_norm() -> nn.Module:
    """Two convolutions share a group norm; of 3 classes and a grey image."""
    return _SharedGroupNorm()


class _SharedGroupNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.norm = nn.GroupNorm(4, 32)
        self.third, self.last, self.fc = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3), nn.Linear(32, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.second(self.norm(self.first(images)).relu())).relu()
        logits: Tensor = self.fc(self.last(self.third(maps).relu()).relu().mean((2, 3)))
        return logits


def channel_shuffle() -> nn.Module:
    """Channels change places between two convolutions; of 3 classes and a grey image."""
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(1, 32, 3, padding=1))
    model.add_module("shuffle", nn.ChannelShuffle(4))
    model.add_module("rest", nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 32, 3), nn.ReLU()))
    model.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)))
    return model


def all_group_norms() -> nn.Module:
    """A group norm behind every convolution; of 3 classes and a grey image."""
    layers = [nn.Conv2d(1, 32, 3), nn.GroupNorm(4, 32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.GroupNorm(4, 32), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))


def attended() -> nn.Module:
    """Each pixel is weighed by its mean over the channels; of 3 classes and a grey image."""
    return _Attended()


class _Attended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.last, self.fc = nn.Conv2d(64, 32, 3), nn.Linear(32, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images).relu()
        maps = self.inner(maps * maps.mean(1, keepdim=True).sigmoid()).relu()
        logits: Tensor = self.fc(self.last(maps).relu().mean((2, 3)))
        return logits


def tied() -> nn.Module:
    """Two convolutions in a row have their weights in common; of 3 classes and a grey image."""
    model = nn.Sequential()
    for name, layer in {
        "first": nn.Conv2d(1, 32, 3, padding=1), "one": nn.Conv2d(32, 32, 1), "relu": nn.ReLU(),
        "other": nn.Conv2d(32, 32, 1), "wide": nn.Conv2d(32, 64, 3, padding=1), "last": nn.Conv2d(64, 32, 3),
        "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(32, 3),
    }.items():  # fmt: skip
        model.add_module(name, layer)
    model.get_submodule("other").weight = model.get_parameter("one.weight")
    return model


def transformer(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A vision transformer of two blocks; the image has three channels."""
    assert in_channels == 3
    model: nn.Module = VisionTransformer(image_size, image_size // 4, 2, 2, 32, 64, num_classes=num_classes)
    return model


def convnext(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A ConvNeXt of two stages; the image has three channels."""
    assert in_channels == 3
    model: nn.Module = ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)], num_classes=num_classes)
    return model
