"""Where a network begins and ends is found by following an image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.errors import ModelError
from edgekd.zoo import ModelSpec, build, check_name, count_macs, ends_of, example_images
from tests.contract import unseen

SPEC = ModelSpec(name="resnet8", num_classes=3, in_channels=3, image_size=16)


class Made(nn.Module):
    """A network of a few layers; ``way`` says how they are used."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.fc, self.last = nn.Linear(8, 3), nn.Conv2d(8, 3, 1)
        self.one, self.two, self.flat = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 5, padding=1), nn.Linear(3 * 16 * 16, 8)
        self.weight = nn.Parameter(torch.randn(3, 8))

    def forward(self, images: Tensor) -> Any:
        if self.way == "padded":
            return self.fc(self.one(F.pad(images, (1, 1, 1, 1), mode="reflect")).mean((2, 3)))
        if self.way == "flat":
            return self.fc(self.flat(images.flatten(1)))
        if self.way == "two stems":
            return self.fc((self.one(images) + self.two(images)).mean((2, 3)))
        if self.way == "two heads":
            features = self.one(images)
            return self.fc(features.mean((2, 3))) + self.last(features).mean((2, 3))
        if self.way == "functional stem":
            return self.fc(F.conv2d(images, self.one.weight).mean((2, 3)))
        if self.way == "functional head":
            return F.linear(self.one(images).mean((2, 3)), self.weight)
        features = self.one(images).mean((2, 3))
        outputs: dict[str, Callable[[], Any]] = {
            "softmax": lambda: self.fc(features).softmax(1),
            "by hand": lambda: self.fc(features).exp() / self.fc(features).exp().sum(1, keepdim=True),
            "sigmoid": lambda: self.fc(features).sigmoid(),
            "dict": lambda: {"features": features, "logits": self.fc(features)},
            "tuple": lambda: (self.fc(features), features),
            "text": lambda: "cat",
        }
        return outputs[self.way]()


@pytest.mark.parametrize(
    ("way", "stems", "changed", "heads"),
    [
        ("padded", ("one",), (), ("fc",)),
        ("flat", ("flat",), ("UnsafeView",), ("fc",)),
        ("two stems", ("one", "two"), (), ("fc",)),
        ("two heads", ("one",), (), ("fc", "last")),
        ("functional head", ("one",), (), ()),
    ],
)
def test_stems_and_heads_are_those_that_the_image_and_the_logits_reach_first(
    way: str, stems: tuple[str, ...], changed: tuple[str, ...], heads: tuple[str, ...]
) -> None:
    found = ends_of(Made(way), example_images(SPEC, 2))

    assert (found.stems, set(found.heads)) == (stems, set(heads))
    assert found.changed == changed


def test_a_network_stays_as_it_was() -> None:
    model = Made("two stems").train()
    kept = next(module for module in model.modules() if module is not model).eval()

    ends_of(model, example_images(SPEC, 2))
    count_macs(model, SPEC)

    assert model.training
    assert not kept.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("name", "stem", "head"), [("two_heads", "stem.0", "fc"), ("patches", "stem", "head")])
def test_networks_that_are_registered_in_another_order_are_followed(name: str, stem: str, head: str) -> None:
    found = ends_of(getattr(unseen, name)(3, 3, 16), example_images(SPEC, 2))

    assert (found.stems, found.heads) == ((stem,), (head,))


@pytest.mark.parametrize(("name", "stem", "head"), [
    ("resnet20", "conv1", "fc"), ("squeezenet1_1", "features.0", "classifier.1"),
    ("mobilenet_v3_small", "features.0.0", "classifier.3"),
])  # fmt: skip
def test_libraries_networks_are_followed_too(name: str, stem: str, head: str) -> None:
    spec = SPEC.model_copy(update={"name": name, "image_size": 32})

    found = ends_of(build(spec), example_images(spec, 2))

    assert (found.stems, found.heads) == ((stem,), (head,))


def softmax(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("softmax")


def by_hand(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("by hand")


def sigmoid(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("sigmoid")


def a_dict(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("dict")


def a_tuple(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("tuple")


def text(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("text")


def functional(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("functional stem")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (softmax, "gives probabilities, not logits: it ends in a softmax; leave the softmax out"),
        (by_hand, "gives probabilities, not logits: it ends in a softmax; leave the softmax out"),
        (sigmoid, "gives probabilities, not logits: it ends in a sigmoid; leave the sigmoid out"),
        (a_dict, r"a dict of 'features' \(2, 8\), 'logits' \(2, 3\); return the logits alone: its \['logits'\]"),
        (a_tuple, r"a tuple of item 0 \(2, 3\), item 1 \(2, 8\); return the logits alone: its \[0\] has their shape"),
        (text, "gives a str; return the logits alone, a tensor of shape"),
        (functional, "no layer that reads the image"),
    ],
)
def test_what_gives_no_logits_is_refused_in_one_line_that_says_what_it_gives(function: Any, told: str) -> None:
    name = f"{__name__}:{function.__name__}"
    check_name(name)

    with pytest.raises(ModelError, match=told) as caught:
        build(SPEC.model_copy(update={"name": name}))

    assert "\n" not in str(caught.value)


def flat(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return Made("flat")


def test_a_fully_connected_layer_may_read_the_image() -> None:
    name = f"{__name__}:flat"
    check_name(name)

    assert isinstance(build(SPEC.model_copy(update={"name": name})), Made)


def test_logarithms_of_probabilities_are_logits() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(1))

    assert ends_of(model, example_images(SPEC, 2)).softmax == ""
