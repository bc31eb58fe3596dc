"""Few-bit weights in an ONNX file: as many bytes as they take, the same numbers, the same kernels."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekd import onnx_export
from edgekd.config.schemes import INT8, W2, W3, W4, Scheme, limit_of
from edgekd.data import as_input
from edgekd.onnx_export import ort, packing
from edgekd.onnx_export.compact import in_16_bits, short_names
from edgekd.onnx_export.packing import pack_weights
from edgekd.onnx_export.unpack import unpacked
from edgekd.quantization import QuantizedModel
from edgekd.zoo import ModelSpec, build, check_name

Array = np.ndarray[Any, Any]
SHAPES = ((16, 9, 3, 3), (5, 16, 1, 1), (7, 5))
SPEC = ModelSpec(name="tests.contract.shorter:mobilenet_v2", num_classes=10, in_channels=1, image_size=16)


def random_weights(limit: int, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    generator = np.random.default_rng(limit)
    found = [generator.integers(-limit, limit + 1, shape).astype(np.int8) for shape in shapes]
    for value in found:
        value.ravel()[:2] = (limit, -limit)
    return found


def file_of(weights: Sequence[Array], path: Path) -> onnx.ModelProto:
    """A file that gives every weight tensor back as floats."""
    constants = [numpy_helper.from_array(value, f"weight{i}") for i, value in enumerate(weights)]
    constants.append(numpy_helper.from_array(np.array(1.0, np.float32), "one"))
    nodes = [helper.make_node("DequantizeLinear", [f"weight{i}", "one"], [f"y{i}"]) for i in range(len(weights))]
    outputs = [
        helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, value.shape) for i, value in enumerate(weights)
    ]
    graph = helper.make_graph(nodes, "weights", [], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return model


@pytest.mark.parametrize(("limit", "bytes_of_8"), [(1, 8 / 5), (3, 3), (7, 4)])
def test_packed_weights_come_back_as_they_were_in_as_many_bytes_as_said(
    limit: int, bytes_of_8: float, tmp_path: Path
) -> None:
    weights, path = random_weights(limit), tmp_path / "packed.onnx"
    model = file_of(weights, path)

    pack_weights(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

    packed = sum(np.prod(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.UINT8)
    count = sum(value.size for value in weights)
    assert count * bytes_of_8 / 8 <= packed <= count * bytes_of_8 / 8 + 3
    for found, wanted in zip(ort.session(path).run(None, {}), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)
    known = {t.name: numpy_helper.to_array(t) for t in unpacked(path).graph.initializer}
    for number, wanted in enumerate(weights):
        np.testing.assert_array_equal(known[f"weight{number}"], wanted)
        assert known[f"weight{number}"].dtype == np.int8


def test_each_width_of_a_file_is_packed_by_itself_and_wide_weights_stay(tmp_path: Path) -> None:
    weights = [*random_weights(7), *random_weights(1), *random_weights(63)]
    model = file_of(weights, tmp_path / "mixed.onnx")

    pack_weights(model.graph)
    onnx.save(model, tmp_path / "mixed.onnx")

    sizes = {t.name: len(t.raw_data) for t in model.graph.initializer}
    assert [name for name in sizes if name.startswith("weight")] == ["weight6", "weight7", "weight8"]
    counts = onnx_export.weights_by_bits(tmp_path / "mixed.onnx")
    assert counts == {2: sum(w.size for w in weights[:3]), 4: sum(w.size for w in weights[:3]), 7: counts[7]}
    assert onnx_export.weight_range(tmp_path / "mixed.onnx") == 63


def test_few_weights_are_not_worth_a_table(tmp_path: Path) -> None:
    model = file_of(random_weights(1, [(4, 4)]), tmp_path / "small.onnx")
    before = model.SerializeToString()

    pack_weights(model.graph)

    assert model.SerializeToString() == before


def test_large_networks_are_unpacked_a_piece_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WEIGHTS_AT_ONCE", 1000)
    weights = random_weights(3, [(16, 9, 3, 3), (20, 40), (9, 20), (30, 30)])
    model = file_of(weights, tmp_path / "large.onnx")

    pack_weights(model.graph)
    onnx.save(model, tmp_path / "large.onnx")

    assert sum(node.op_type == "Split" for node in model.graph.node) == 3
    for found, wanted in zip(ort.session(tmp_path / "large.onnx").run(None, {}), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_only_numbers_that_16_bits_hold_are_kept_in_them(tmp_path: Path) -> None:
    fits, tenth = np.array([0.5, 2.0**-20], np.float32), np.array([0.1, 0.2], np.float32)
    small, large = np.array([-32768, 5], np.int32), np.array([40000, 1], np.int32)
    values = {"a": fits, "b": fits * 2, "c": tenth, "d": small, "e": small + 1, "f": large}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in values]
    kinds = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int32"): TensorProto.INT32}
    outputs = [helper.make_tensor_value_info(f"{n}_out", kinds[v.dtype], v.shape) for n, v in values.items()]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "numbers", [], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    in_16_bits(model.graph)

    assert {t.name for t in model.graph.initializer} >= {"c", "f"}
    assert not {t.name for t in model.graph.initializer} & {"a", "b", "d", "e"}
    for found, wanted in zip(ort.session(model.SerializeToString()).run(None, {}), values.values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_short_names_join_what_they_joined_before(tmp_path: Path) -> None:
    weights = random_weights(63)
    model = file_of(weights, tmp_path / "names.onnx")

    short_names(model.graph)

    assert max(len(t.name) for t in model.graph.initializer) == 1
    for found, wanted in zip(ort.session(model.SerializeToString()).run(None, {}), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


Made = dict[str, tuple[Path, QuantizedModel]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One network as files of four schemes."""
    torch.manual_seed(0)
    check_name(SPEC.name)
    model, folder = build(SPEC), tmp_path_factory.mktemp("packed")
    with torch.no_grad():
        for _ in range(3):
            model.train()(as_input(pixels(32)))
    found = {}
    for scheme in (INT8, W4, W3, W2):
        quantized, path = QuantizedModel(model.eval(), SPEC, scheme, "packing"), folder / f"{scheme.name}.onnx"
        quantized.correct_batchnorm(lambda: [as_input(pixels(32))])
        quantized.calibrate([as_input(pixels(32))])
        onnx_export.export_onnx(quantized.integers(), SPEC, path)
        found[scheme.name] = (path, quantized)
    return found


def pixels(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("scheme", [W4, W3, W2], ids=lambda scheme: scheme.name)
def test_a_network_of_few_bits_has_the_kernels_of_int8(made: Made, scheme: Scheme, tmp_path: Path) -> None:
    counts = []
    for name, file in (("int8", made["int8"][0]), ("few", made[scheme.name][0])):
        ort.session(file, optimised=tmp_path / f"{name}.onnx")
        counts.append(onnx_export.census(tmp_path / f"{name}.onnx"))

    assert counts[0].ops == counts[1].ops
    assert counts[1].float == 0


def test_bits_of_every_layer_are_those_that_were_asked_for_in_the_file_too(made: Made) -> None:
    for scheme in (W4, W3, W2):
        path, quantized = made[scheme.name]
        weights = onnx_export.weights_by_bits(path)
        wide = [layer for layer, bits in quantized.bits.items() if bits == 7]

        assert set(weights) == {scheme.weight_bits, 7}
        assert onnx_export.weight_range(path) == 63
        assert {"features.0.0", "classifier.1", "features.1.conv.0.0"} <= set(wide)
        assert len(wide) == 2 + 5  # first, last, and a depthwise layer in each of 5 blocks
        assert sum(weights.values()) == sum(p.numel() for p in build(SPEC).parameters() if p.dim() > 1)


def test_fewer_bits_are_fewer_bytes(made: Made) -> None:
    sizes = {name: path.stat().st_size for name, (path, _) in made.items()}
    assert sizes["w4"] < 0.58 * sizes["int8"]
    assert sizes["w3"] < 0.46 * sizes["int8"]
    assert sizes["w2"] < 0.30 * sizes["int8"]


@pytest.mark.slow
def test_the_oldest_onnxruntime_gives_the_same_answers(made: Made, oldest_device: Path, tmp_path: Path) -> None:
    """1.18 on Python 3.9 folds the packed weights as today's does: integer kernels alone, logits equal to the bit."""
    np.save(tmp_path / "pixels.npy", pixels(8).numpy())
    program = (
        "import json, sys, numpy as np, onnxruntime as ort\n"
        "options = ort.SessionOptions()\n"
        "options.optimized_model_filepath = sys.argv[3]\n"
        "options.log_severity_level = 3\n"
        "session = ort.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])\n"
        "logits = session.run(None, {'pixels': np.load(sys.argv[2])})[0]\n"
        "print(json.dumps([ort.__version__, logits.tolist()]))\n"
    )
    for name, (path, _) in made.items():
        optimised = tmp_path / f"{name}.onnx"
        arguments = [str(each) for each in (oldest_device, "-c", program, path, tmp_path / "pixels.npy", optimised)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        version, logits = json.loads(done.stdout)

        assert version.startswith("1.18.")
        assert onnx_export.census(optimised).float == 0
        here = ort.session(path).run(None, {"pixels": pixels(8).numpy()})[0]
        np.testing.assert_array_equal(np.array(logits, np.float32), here)


@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
def test_limits_by_hand(bits: int) -> None:
    assert limit_of(bits) == {2: 1, 3: 3, 4: 7, 7: 63, 8: 127}[bits]
