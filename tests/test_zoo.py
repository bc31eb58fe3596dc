"""Architectures, stems, widths, MACs."""

import json

import pytest
import torch
import torchvision
from torch import nn

from edgekd.errors import ModelError
from edgekd.ondevice.sizes import Size
from edgekd.zoo import (
    ModelSpec,
    Stem,
    build,
    check_name,
    cifar_resnet_depth,
    count_macs,
    count_params,
    example_images,
    stem_in_words,
    widths,
    with_widths,
)


def spec(name: str, size: int = 32, channels: int = 1, width_mult: float = 1.0) -> ModelSpec:
    return ModelSpec(name=name, num_classes=7, in_channels=channels, image_size=size, width_mult=width_mult)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet8", "resnet20"])
@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_answers_with_one_logit_per_class(name: str, size: int, channels: int) -> None:
    about = spec(name, size, channels)

    with torch.no_grad():
        assert build(about).eval()(example_images(about, 2)).shape == (2, 7)


@pytest.mark.parametrize(("size", "stride"), [(32, 1), (64, 1), (65, 2)])
def test_a_small_image_keeps_its_resolution_in_the_stem(size: int, stride: int) -> None:
    stem = next(module for module in build(spec("mobilenet_v2", size)).modules() if isinstance(module, nn.Conv2d))

    assert stem.stride == (stride, stride)
    assert stem.in_channels == 1


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize(("stem", "stride"), [("small", 1), ("standard", 2)])
def test_a_stem_that_is_said_is_built_whatever_the_size(size: int, stem: Stem, stride: int) -> None:
    about = spec("resnet18", size).model_copy(update={"stem": stem})
    model = build(about)

    assert model.get_submodule("conv1").stride == (stride, stride)
    assert isinstance(model.get_submodule("maxpool"), nn.MaxPool2d if stem == "standard" else nn.Identity)
    assert stem_in_words(about) == stem


def test_which_stem_is_built_and_why_is_told_where_there_are_two() -> None:
    sizes: list[Size] = [64, 65, (49, 10), (96, 10)]
    words = [stem_in_words(spec("resnet18", 32).model_copy(update={"image_size": size})) for size in sizes]

    small, standard = "small (auto: images up to 64 pixels)", "standard (auto: images above 64 pixels)"
    assert words == [small, standard, small, standard]
    assert [stem_in_words(spec(name)) for name in ("resnet8", "tests.tiny:own_network")] == ["", ""]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "resnet18"])
def test_every_stem_keeps_the_resolution_of_a_small_image_alone(name: str, channels: int) -> None:
    small, large = (
        next(module for module in build(spec(name, size, channels)).modules() if isinstance(module, nn.Conv2d))
        for size in (64, 96)
    )

    assert (small.stride, large.stride) == ((1, 1), (2, 2))
    assert small.in_channels == large.in_channels == channels
    assert small.out_channels == large.out_channels


def test_a_large_colour_image_gets_torchvision_s_own_network() -> None:
    torch.manual_seed(0)
    ours = build(spec("resnet18", 96, 3)).state_dict()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=7).state_dict()

    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_resnet_for_small_images_has_neither_a_wide_stem_nor_a_pool_behind_it() -> None:
    model = build(spec("resnet18", 32))

    assert isinstance(model.conv1, nn.Conv2d)
    assert model.conv1.kernel_size == (3, 3)
    assert isinstance(model.maxpool, nn.Identity)


def test_resnet20_has_the_parameters_counted_by_hand() -> None:
    """Stem, 3 groups of 3 blocks of two 3x3 convolutions, two 1x1 shortcuts, a norm behind each, the classifier."""
    convolutions = 9 * 3 * 16 + 6 * 9 * 16**2 + 9 * 16 * 32 + 5 * 9 * 32**2 + 9 * 32 * 64 + 5 * 9 * 64**2
    shortcuts = 16 * 32 + 32 * 64
    norms = 2 * (7 * 16 + 7 * 32 + 7 * 64)
    classifier = 64 * 10 + 10

    model = build(ModelSpec(name="resnet20", num_classes=10, in_channels=3, image_size=32))

    assert count_params(model) == convolutions + shortcuts + norms + classifier == 272_474


def test_macs_of_resnet8_are_those_counted_by_hand() -> None:
    first = 9 * 1 * 16 * 64 + 2 * 9 * 16 * 16 * 64
    second = (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 16
    third = (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64) * 4

    assert count_macs(build(spec("resnet8", 8)), spec("resnet8", 8)) == first + second + third + 64 * 7


def test_macs_and_params_of_a_grouped_and_strided_network_are_those_counted_by_hand() -> None:
    """8x8 -> 4x4 pixels by the stride; two groups: each output sees one of the two channels."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.Flatten(),
        nn.Linear(6 * 16, 3),
    )

    assert count_macs(model, spec("hand-made", 8, 2)) == 4 * 16 * 9 * 1 + 6 * 16 * 4 + 96 * 3
    assert count_params(model) == (4 * 9 + 4) + (4 + 4) + 6 * 4 + (96 * 3 + 3)


def test_a_transposed_convolution_multiplies_once_for_each_number_that_it_reads_and_each_weight_of_that_channel() -> (
    None
):
    model = nn.Sequential(nn.ConvTranspose2d(2, 6, 2, stride=2, groups=2), nn.Flatten(), nn.Linear(6 * 256, 3))

    assert count_macs(model, spec("hand-made", 8, 2)) == 2 * 64 * 3 * 4 + 6 * 256 * 3


def test_counting_leaves_the_network_as_it_is() -> None:
    model = build(spec("resnet8", 8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    count_macs(model, spec("resnet8", 8))

    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_width_multiplier_narrows_where_the_architecture_has_one_and_is_refused_elsewhere() -> None:
    for name in ("mobilenet_v2", "mobilenet_v3_small", "resnet20"):
        narrow, wide = (count_params(build(spec(name, width_mult=width))) for width in (0.5, 1.0))
        assert narrow < 0.5 * wide
    with pytest.raises(ModelError, match="resnet18 has no width multiplier"):
        build(spec("resnet18", width_mult=0.5))


def test_an_unknown_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'mobilenet_v22'; did you mean .*mobilenet_v2"):
        check_name("mobilenet_v22")


def test_only_cifar_depths_are_cifar_names() -> None:
    assert [cifar_resnet_depth(f"resnet{depth}") for depth in (8, 14, 20, 110)] == [8, 14, 20, 110]
    assert [cifar_resnet_depth(name) for name in ("resnet18", "resnet50", "resnet152", "resnet9", "vgg8")] == [None] * 5


def test_widths_rebuild_a_network_of_other_widths_even_from_json() -> None:
    about = spec("resnet8", 8)
    narrow = build(ModelSpec(**{**about.model_dump(), "width_mult": 0.5}))

    rebuilt = with_widths(build(about), json.loads(json.dumps(widths(narrow))))
    rebuilt.load_state_dict(narrow.state_dict())

    assert widths(rebuilt) == widths(narrow) != widths(build(about))
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(example_images(about)), narrow.eval()(example_images(about)))


def test_a_layer_that_the_network_lacks_is_named() -> None:
    with pytest.raises(ModelError, match="no_such_layer: the network has no such layer"):
        with_widths(build(spec("resnet8", 8)), {"no_such_layer": {"in_channels": 3}})


def test_a_network_of_the_wanted_widths_keeps_its_weights() -> None:
    model = build(spec("resnet8", 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with_widths(model, widths(model))

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_layer_that_cannot_have_another_width_is_named() -> None:
    with pytest.raises(ModelError, match="up: a Conv1d cannot be given another width"):
        with_widths(nn.ModuleDict({"up": nn.Conv1d(4, 4, 2)}), {"up": {"in_channels": 2}})


def test_every_kind_of_layer_that_pruning_narrows_is_rebuilt_with_its_state() -> None:
    def network(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 3),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, 2 * width, 2, 2),
            nn.BatchNorm2d(2 * width, affine=False),
            nn.ConvTranspose2d(2 * width, 2 * width, 3, groups=2 * width),
            nn.InstanceNorm2d(2 * width, track_running_stats=True),
            nn.PReLU(),
            nn.Flatten(1, 2),
            nn.BatchNorm1d(2 * width * 14),
        ).eval()

    narrow, images = network(4), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    rebuilt = with_widths(network(8), widths(narrow))
    rebuilt.load_state_dict(narrow.state_dict())

    with torch.no_grad():
        assert torch.equal(rebuilt(images), narrow(images))


def tied(first: int, second: int) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(first, first), nn.ReLU(), nn.Linear(second, second, bias=False))
    if first == second:
        model[2].weight = model[0].weight
    return model


def test_weights_that_layers_have_in_common_are_still_one_after_resizing() -> None:
    rebuilt = with_widths(tied(8, 8), widths(tied(4, 4)))

    assert rebuilt.get_parameter("0.weight") is rebuilt.get_parameter("2.weight")
    assert count_params(rebuilt) == 4 * 4 + 4


def test_weights_in_common_of_two_widths_are_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"2\.weight: is one with 0\.weight, but has another width") as caught:
        with_widths(tied(8, 8), widths(tied(4, 6)))

    assert "\n" not in str(caught.value)


def test_an_architecture_that_does_not_take_such_images_is_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match="vit_b_16 does not take 32x32 images") as caught:
        build(spec("vit_b_16", 32, channels=3))

    assert "\n" not in str(caught.value)


def test_containers_have_no_widths_of_their_own() -> None:
    narrow, wide = (build(spec("mobilenet_v2", width_mult=width)) for width in (0.5, 1.0))

    rebuilt = with_widths(wide, widths(narrow))

    assert count_params(rebuilt) == count_params(narrow)
