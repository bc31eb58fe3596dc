"""A file cut to other widths has the nodes and the sizes of one that was pruned and exported."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgekd.config.schemes import INT8
from edgekd.errors import ExportError
from edgekd.onnx_export import ort, pack, sliced, template_of, unpacked_file
from edgekd.pruning.criteria import L2
from edgekd.pruning.plan import plan_widths
from edgekd.pruning.structure import structure_of
from edgekd.quantization import QuantizedModel, float_graph, layers_in_order
from edgekd.zoo import ModelSpec, build, check_name, example_images

UNSEEN = "tests.contract.unseen:"


def integer_file(model: torch.nn.Module, spec: ModelSpec) -> tuple[Any, list[str]]:
    quantized = QuantizedModel(model, spec, INT8)
    quantized.calibrate([example_images(spec, batch=2)])
    return unpacked_file(quantized.integers(), spec), layers_in_order(quantized.graph)


def sizes(file: Any) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Each node, and the sizes of the constants that it reads."""
    known = {tensor.name: tuple(tensor.dims) for tensor in file.graph.initializer}
    return [(node.op_type, [known[name] for name in node.input if name in known]) for node in file.graph.node]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", f"{UNSEEN}four_branches"])
def test_a_sliced_file_is_of_the_size_of_a_pruned_network_s(name: str, tmp_path: Path) -> None:
    check_name(name)
    spec = ModelSpec(name=name, num_classes=3, in_channels=1, image_size=16)
    torch.manual_seed(0)
    model = build(spec).eval()
    structure = structure_of(model, spec, L2())
    keep = plan_widths(structure.groups, 0.5, "layer", 0.8, "arm64")
    assert sum(keep) < sum(group.channels for group in structure.groups)
    outputs = {layer: kept for group, kept in zip(structure.groups, keep, strict=True) for layer in group.layers}

    found = sliced(template_of(*integer_file(model, spec)), outputs)

    real, _ = integer_file(structure.proved(keep), spec)
    assert sizes(found.model) == sizes(real)
    pack(found.model)
    path = tmp_path / "sliced.onnx"
    path.write_bytes(found.model.SerializeToString())
    pixels = np.zeros((2, 16, 16, 1), np.uint8)
    assert ort.predict(ort.session(path), pixels).shape == (2, 3)


def test_what_layers_do_is_known_of_their_sliced_file() -> None:
    spec = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8, width_mult=0.5)
    template = template_of(*integer_file(build(spec).eval(), spec))

    whole, half = sliced(template, {}), sliced(template, {"layer3.0.conv1": 16})

    changed = [(a, b) for a, b in zip(whole.nodes, half.nodes, strict=True) if a != b]
    assert [(a.inputs, a.outputs, b.inputs, b.outputs) for a, b in changed] == [(16, 32, 16, 16), (32, 32, 16, 32)]
    assert [(a.weights, a.places, b.weights) for a, b in changed] == [
        (16 * 32 * 9, 4, 16 * 16 * 9),
        (32 * 32 * 9, 4, 16 * 32 * 9),
    ]


def test_a_float_file_can_be_sliced_too() -> None:
    spec = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8, width_mult=0.5)
    model = build(spec).eval()
    names = layers_in_order(float_graph(model, spec))
    template = template_of(unpacked_file(float_graph(model, spec), spec), names)

    found = sliced(template, {"conv1": 8, "layer2.0.conv1": 8})

    onnx.checker.check_model(found.model, full_check=True)


def test_channels_that_cannot_be_followed_are_refused() -> None:
    check_name("tests.odd:pixel_shuffle")
    spec = ModelSpec(name="tests.odd:pixel_shuffle", num_classes=3, in_channels=1, image_size=8)
    file, names = integer_file(build(spec).eval(), spec)

    with pytest.raises(ExportError, match=r"widths: no file of other widths .*give pruning_ratio"):
        sliced(template_of(file, names), {names[0]: 4})
