"""A graph that is remembered serves every network of the same architecture and widths, and no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.config.schemes import INT8
from edgekd.onnx_export import export_onnx
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.quantization.capture import _CAPTURED, MOST_REMEMBERED, capture
from edgekd.zoo import ModelSpec, build, check_name, example_images, fingerprint, random_images, widths, with_widths

NAMES = ("resnet8", "tests.odd:pixel_shuffle")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    _CAPTURED.clear()
    yield
    _CAPTURED.clear()


def two(name: str) -> tuple[ModelSpec, nn.Module, nn.Module]:
    check_name(name)
    spec = ModelSpec(name=name, num_classes=5, in_channels=3, image_size=32)
    torch.manual_seed(0)
    return spec, build(spec).eval(), build(spec).eval()


def integers(model: nn.Module, spec: ModelSpec, known_as: str) -> QuantizedModel:
    found = QuantizedModel(model, spec, INT8, known_as)
    found.calibrate([random_images(spec, 4)])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_the_same_to_the_byte_whether_its_graph_was_remembered_or_not(tmp_path: Path, name: str) -> None:
    spec, first, second = two(name)
    known_as = fingerprint(first, spec)
    assert known_as == fingerprint(second, spec)
    float_graph(first, spec, known_as)

    for kind in ("float", "integers"):
        files = []
        for word in ("", known_as):
            graph = float_graph(second, spec, word) if kind == "float" else integers(second, spec, word).integers()
            path = tmp_path / "model.onnx"
            export_onnx(graph, spec, path)
            files.append(path.read_bytes())
        assert files[0] == files[1]
    assert list(_CAPTURED) == [known_as]


def test_tensors_of_a_remembered_graph_are_no_one_else_s() -> None:
    spec, first, second = two("resnet8")
    known_as = fingerprint(first, spec)
    images = random_images(spec, 2)

    one, other = (float_graph(model, spec, known_as) for model in (first, second))
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
        found = other(images)
        again = float_graph(second, spec, known_as)(images)

    assert torch.equal(found, again)
    assert found.std() > 0


def test_another_architecture_width_or_source_is_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, model, _ = two("resnet8")
    narrower = {
        name: {key: max(1, value // 2) if key == "out_features" else value for key, value in about.items()}
        for name, about in widths(model).items()
    }
    monkeypatch.chdir(tmp_path)
    own = ModelSpec(name="nets:small", num_classes=3, in_channels=1, image_size=8)
    text = "from tests.tiny import own_network as small\n"
    names = [fingerprint(model, spec), fingerprint(with_widths(build(spec), narrower), spec)]
    names.append(fingerprint(model, spec.model_copy(update={"stem_bias": True})))
    for further in ("", "# changed\n"):
        (tmp_path / "nets.py").write_text(text + further, encoding="utf-8")
        names.append(fingerprint(model, own))

    assert len(set(names)) == 5


@pytest.mark.slow
def test_few_graphs_are_remembered_and_the_latest_used_longest() -> None:
    spec, model, _ = two("resnet8")
    names = [f"network {number}" for number in range(MOST_REMEMBERED)]

    for name in (*names, names[0], "one more"):
        capture(model, example_images(spec, 2), name)

    assert list(_CAPTURED) == [*names[2:], names[0], "one more"]
