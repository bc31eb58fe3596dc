"""Padding by an operator of its own: part of what reads it where that means the same, of integers else, or named."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd import onnx_export
from edgekd.config.schemes import INT8_IN_7_BITS, W2
from edgekd.data import as_input
from edgekd.ondevice.sizes import sides
from edgekd.onnx_export import ort
from edgekd.onnx_export.pads import fold_pads
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.quantization.capture import capture
from edgekd.stages.drift import followed
from edgekd.zoo import ModelSpec
from tests.test_rewrites import Operator, answer, images, targets
from tests.tiny import blurred_colours

# torch warns that it makes a padded copy, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def same(maps: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """TensorFlow's "SAME": as many outputs as there are strides, the odd row and column below and to the right."""
    sides: list[int] = []
    for size in reversed(maps.shape[2:]):
        both = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        sides += [both // 2, both - both // 2]
    return F.pad(maps, sides, value=value)


class Same(nn.Module):
    """Convolutions and pools as TensorFlow pads them, with even and odd kernels and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16)
        self.depthwise, self.even = nn.Conv2d(16, 16, 5, 2, groups=16), nn.Conv2d(16, 16, 4, padding="same")
        self.three, self.fc = nn.Conv2d(16, 16, 2, 3), nn.Linear(16, 5)

    def forward(self, batch: Tensor) -> Tensor:
        maps = self.norm(self.stem(same(batch, 3, 2)))
        maps = F.max_pool2d(same(maps, 3, 1, -math.inf), 3, 1)
        maps = F.relu6(self.depthwise(same(maps, 5, 2)))
        maps = F.avg_pool2d(same(self.even(maps), 2, 1), 2, 1)
        logits: Tensor = self.fc(self.three(same(maps, 2, 3)).mean((2, 3)))
        return logits


class Unfoldable(nn.Module):
    """Padding that no operator behind it has: by reflection, and read by a sum too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)
        self.fc = nn.Linear(16, 5)

    def forward(self, batch: Tensor) -> Tensor:
        maps = F.relu(self.stem(F.pad(batch, (1, 1, 1, 1), mode="reflect")))
        padded = F.pad(maps, (1, 1, 1, 1))
        maps = F.pad(self.inner(padded), (1, 1, 1, 1)) + padded
        logits: Tensor = self.fc(self.last(maps).mean((2, 3)))
        return logits


def integer_file(model: nn.Module, size: int, path: Path) -> QuantizedModel:
    """Write a network's integer file; the rounded network that is in it."""
    spec = ModelSpec(name=type(model).__name__, num_classes=5, in_channels=3, image_size=size)
    quantized = QuantizedModel(model.eval(), spec, INT8_IN_7_BITS)
    quantized.calibrate([as_input(blurred_colours(8, size))])
    onnx_export.export_onnx(quantized.integers(), spec, path)
    return quantized


def kernels(path: Path) -> onnx_export.Census:
    optimised = path.with_suffix(".optimised")
    ort.session(path, optimised=optimised)
    return onnx_export.census(optimised)


def check_integers(quantized: QuantizedModel, path: Path) -> None:
    """Each rounded tensor of the file is torch's of the same inputs."""
    found = followed(quantized.integers(), path, blurred_colours(4, sides(quantized.spec.image_size)[0], seed=1))
    assert len(found) >= 7
    assert all(local.right for local in found), found[0]


@pytest.mark.parametrize("size", [31, 32])
def test_same_padding_is_part_of_its_convolution_and_pool_in_both_files(size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, pixels = Same(), blurred_colours(4, size, seed=1)
    files = tmp_path / "float.onnx", tmp_path / "int8.onnx"

    quantized = integer_file(model, size, files[1])
    onnx_export.export_onnx(float_graph(model, quantized.spec), quantized.spec, files[0])

    assert "Pad" not in {node.op_type for path in files for node in onnx.load(path).graph.node}
    assert kernels(files[1]).float_ops == []
    check_integers(quantized, files[1])
    with torch.no_grad():
        wanted = model(as_input(pixels)).numpy()
    np.testing.assert_allclose(ort.predict(ort.session(files[0]), pixels.numpy()), wanted, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_folded_pads_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "int8.onnx"

    quantized = integer_file(Unfoldable(), 12, path)

    found = kernels(path)
    assert found.ops["Pad"] == 3  # the reflected one, and both that the sum reads
    assert found.float_ops == []
    check_integers(quantized, path)


def test_padding_with_another_number_stays_in_float_unrounded_and_is_named(tmp_path: Path) -> None:
    largest = Operator(lambda maps: maps.amax((2, 3)))
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ConstantPad2d(1, 0.3), largest, nn.Linear(16, 5))

    quantized = integer_file(model, 12, tmp_path / "int8.onnx")

    pad = next(node for node in quantized.graph.graph.nodes if node.target == torch.ops.aten.pad.default)
    assert [user.target for user in pad.users] == [torch.ops.aten.amax.default]
    assert "Pad node_pad" in kernels(tmp_path / "int8.onnx").float_ops


def test_a_layer_that_reads_the_padded_image_has_wide_weights() -> None:
    spec = ModelSpec(name="same", num_classes=5, in_channels=3, image_size=16)

    quantized = QuantizedModel(Same().eval(), spec, W2)

    assert quantized.bits["stem"] == W2.widest_bits > quantized.bits["even"] == W2.weight_bits


@pytest.mark.parametrize("kernel", [(2, 2), (4, 3), (3, 2)])
@pytest.mark.parametrize("dilation", [1, 3])
def test_padding_by_a_word_at_unequal_sides_is_padding_and_a_convolution(
    kernel: tuple[int, int], dilation: int
) -> None:
    layer = nn.Conv2d(3, 4, kernel, padding="same", dilation=dilation)

    graph = capture(layer, images(2, 3, 9, 8))

    assert torch.ops.aten.conv2d.padding not in targets(graph)
    with torch.no_grad():
        torch.testing.assert_close(answer(graph, images(5, 3, 9, 8)), layer(images(5, 3, 9, 8)))


# Graphs by hand: x of 2x6x5 is padded and read.
X = np.random.default_rng(0).standard_normal((1, 2, 6, 5)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 2, 3, 2)).astype(np.float32)
LOWEST = float("-inf")


def conv(**attributes: Any) -> Any:
    return helper.make_node("Conv", ["p", "w"], ["y"], **attributes)


def pool(kind: str, **attributes: Any) -> Any:
    return helper.make_node(kind, ["p"], ["y"], kernel_shape=[3, 2], **attributes)


def model_of(
    reader: Any, pads: tuple[int, ...] = (0, 0, 1, 0, 0, 0, 2, 1), value: float | None = None, mode: str = "constant"
) -> Any:
    """Pads in onnx's order: what each axis gains before its first number, then what it gains behind its last."""
    constants: dict[str, Any] = {"pads": np.array(pads, np.int64), "w": W}
    inputs = ["x", "pads"]
    if value is not None:
        constants["value"] = np.array(value, np.float32)
        inputs.append("value")
    graph = helper.make_graph(
        [helper.make_node("Pad", inputs, ["p"], mode=mode), reader],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(number, name) for name, number in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: Any) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    found: np.ndarray = ort.session(model.SerializeToString(), exact=True).run(None, {"x": X})[0]
    return found


def folded(make: Callable[[], Any]) -> bool:
    """Does the reader read x itself after folding? The answer stays in any case."""
    before, model = run(make()), make()
    fold_pads(model.graph)
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-6)
    return bool(model.graph.node[1].input[0] == "x")


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (conv(), None),
        (conv(pads=[1, 2, 0, 1], strides=[2, 3], dilations=[2, 1]), 0.0),
        (pool("AveragePool", strides=[2, 2]), 0.0),
        (pool("AveragePool", pads=[1, 0, 0, 0], count_include_pad=1), 0.0),
        (pool("MaxPool", strides=[2, 1]), LOWEST),
        (pool("MaxPool", pads=[1, 1, 0, 0]), LOWEST),
    ],
)
def test_a_pad_is_folded_where_the_reader_s_own_padding_means_the_same(reader: Any, value: float | None) -> None:
    assert folded(lambda: model_of(reader, value=value))


@pytest.mark.parametrize(
    "make",
    [
        lambda: model_of(conv(), value=0.5),
        lambda: model_of(conv(), mode="reflect"),
        lambda: model_of(conv(), mode="edge"),
        lambda: model_of(conv(), pads=(0, 0, -1, 0, 0, 0, 2, 1)),
        lambda: model_of(pool("MaxPool"), pads=(0, 1, 1, 0, 0, 0, 1, 0), value=LOWEST),
        lambda: model_of(pool("MaxPool"), value=0.0),
        lambda: model_of(pool("AveragePool", pads=[1, 0, 0, 0]), value=0.0),
        lambda: model_of(pool("AveragePool", ceil_mode=1, strides=[2, 2]), value=0.0),
        lambda: model_of(pool("AveragePool"), pads=(0, 0, 3, 0, 0, 0, 0, 0), value=0.0),
        lambda: model_of(helper.make_node("Relu", ["p"], ["y"]), value=0.0),
    ],
    ids=["number", "reflect", "edge", "crop", "channels", "zero", "uncounted", "ceil", "window", "relu"],
)
def test_a_pad_stays_where_folding_would_change_the_answer_or_cannot_be(make: Callable[[], Any]) -> None:
    assert not folded(make)
