"""ONNX files: raw pixels in, logits out, nothing but what computes, integers only where integers are meant."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch

from edgekd import onnx_export
from edgekd.config.schemes import INT8_IN_7_BITS
from edgekd.data import as_input
from edgekd.onnx_export import ort
from edgekd.onnx_export.unpack import unpacked
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.zoo import ModelSpec, build, check_name, count_macs

MOBILENET = "tests.contract.shorter:mobilenet_v2"
MODELS = ("resnet8", MOBILENET)


def spec_of(name: str) -> ModelSpec:
    check_name(name)
    return ModelSpec(name=name, num_classes=10, in_channels=1, image_size=16)


def pixels(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, torch.nn.Module, QuantizedModel]]:
    """Each network as a float and as an integer file, with the torch models they were made from."""
    made = {}
    for name in MODELS:
        torch.manual_seed(0)
        folder, spec = tmp_path_factory.mktemp(name), spec_of(name)
        model = build(spec)
        with torch.no_grad():
            for _ in range(3):
                model.train()(as_input(pixels(32)))
        model.eval()
        quantized = QuantizedModel(model, spec, INT8_IN_7_BITS)
        quantized.calibrate([as_input(pixels(32))])
        onnx_export.export_onnx(float_graph(model, spec), spec, folder / "float.onnx")
        onnx_export.export_onnx(quantized.integers(), spec, folder / "int8.onnx")
        made[name] = (folder / "float.onnx", folder / "int8.onnx", model, quantized)
    return made


Files = dict[str, tuple[Path, Path, torch.nn.Module, QuantizedModel]]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_float_file_answers_like_torch_at_any_batch_size(files: Files, name: str, batch: int) -> None:
    path, _, model, _ = files[name]

    found = ort.session(path).run(None, {"pixels": pixels(batch).numpy()})[0]

    with torch.no_grad():
        np.testing.assert_allclose(found, model(as_input(pixels(batch))).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_an_integer_file_chooses_the_classes_that_the_training_simulated(files: Files, name: str) -> None:
    _, path, _, quantized = files[name]

    found = ort.session(path).run(None, {"pixels": pixels(64).numpy()})[0]

    with torch.no_grad():
        wanted = quantized(as_input(pixels(64))).numpy()
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95  # random networks: many near ties
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("name", MODELS)
def test_an_integer_file_runs_integer_kernels_only(files: Files, name: str, tmp_path: Path) -> None:
    _, path, _, _ = files[name]

    ort.session(path, optimised=tmp_path / "optimised.onnx")
    census = onnx_export.census(tmp_path / "optimised.onnx")

    assert census.float == 0, census.float_ops
    assert census.integer >= 12
    assert not {"Conv", "Gemm", "Add", "QuantizeLinear"} & set(census.ops)


def test_a_float_file_has_float_kernels_only(files: Files, tmp_path: Path) -> None:
    path, _, _, _ = files["resnet8"]

    ort.session(path, optimised=tmp_path / "optimised.onnx")
    census = onnx_export.census(tmp_path / "optimised.onnx")

    assert census.integer == 0
    assert census.float == len(census.float_ops) > 10


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_integers_within_seven_bits_in_the_file(files: Files, name: str) -> None:
    float_path, path, _, _ = files[name]

    assert onnx_export.weight_range(path) == 63
    assert onnx_export.weight_range(float_path) is None
    weights = [t for t in unpacked(path).graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    assert weights == []


@pytest.mark.parametrize("name", MODELS)
def test_biases_have_the_scale_of_the_products_they_are_added_to(files: Files, name: str) -> None:
    graph = unpacked(files[name][1]).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) == 3]

    for layer in layers:
        image, weight, bias = (producers[name] for name in layer.input)
        expected = constants[image.input[1]] * constants[weight.input[1]]
        assert constants[bias.input[0]].dtype == np.int32
        np.testing.assert_allclose(constants[bias.input[1]], np.ravel(expected), rtol=1e-6)
    assert len(layers) >= 10


@pytest.mark.parametrize("name", MODELS)
def test_nothing_but_what_computes_is_in_the_file(files: Files, name: str) -> None:
    for path in files[name][:2]:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        used = {name for node in model.graph.node for name in node.input}
        assert not model.graph.value_info
        assert not model.metadata_props
        assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)
        assert {tensor.name for tensor in model.graph.initializer} <= used


def test_raw_pixels_go_in_and_float_logits_come_out(files: Files) -> None:
    for path in files["resnet8"][:2]:
        runner = ort.session(path)
        entry, answer = runner.get_inputs()[0], runner.get_outputs()[0]

        assert (entry.name, entry.type, entry.shape) == ("pixels", "tensor(uint8)", ["batch", 16, 16, 1])
        assert (answer.name, answer.type, answer.shape) == ("logits", "tensor(float)", ["batch", 10])


def test_macs_and_parameters_read_off_the_file_are_those_of_the_network(files: Files) -> None:
    float_path, int_path, model, _ = files["resnet8"]

    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    biases = sum(p.shape[0] for p in model.parameters() if p.dim() > 1)  # folded: one for each output channel
    for path in (float_path, int_path):
        assert onnx_export.count_macs(path) == count_macs(model, spec_of("resnet8"))
        assert onnx_export.count_params(path) == weights + biases


def test_a_transposed_convolution_in_a_file_is_counted_as_torch_counts_it(tmp_path: Path) -> None:
    model, spec = torch.nn.Sequential(torch.nn.ConvTranspose2d(2, 6, 2, 2, groups=2)), spec_of("resnet8")
    about = spec.model_copy(update={"in_channels": 2})
    nodes = [
        onnx.helper.make_node("Relu", ["images"], ["clipped"]),
        onnx.helper.make_node("ConvTranspose", ["clipped", "weight"], ["larger"], group=2, strides=[2, 2]),
    ]
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 2, 16, 16])
    larger = onnx.helper.make_tensor_value_info("larger", onnx.TensorProto.FLOAT, [1, 6, 32, 32])
    weight = onnx.numpy_helper.from_array(model.get_parameter("0.weight").detach().numpy(), "weight")
    graph = onnx.helper.make_graph(nodes, "transposed", [images], [larger], [weight])

    onnx.save(onnx.helper.make_model(graph), tmp_path / "transposed.onnx")

    assert onnx_export.count_macs(tmp_path / "transposed.onnx") == count_macs(model, about) == 2 * 256 * 3 * 4


def test_the_integer_file_is_a_quarter_of_the_float_one_and_a_little(files: Files) -> None:
    float_path, int_path, _, _ = files[MOBILENET]

    ratio = int_path.stat().st_size / float_path.stat().st_size

    assert 0.25 < ratio < 0.30


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [("resnet8", 0), (MOBILENET, 0), ("tests.odd:pixel_shuffle", 1)])
def test_only_a_graph_that_is_not_plain_is_traced_once_more(
    name: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_name(name)
    spec, traced = ModelSpec(name=name, num_classes=10, in_channels=3, image_size=16), list[int]()
    whole = torch.export.ExportedProgram.run_decompositions

    def counted(program: torch.export.ExportedProgram, *given: Any, **named: Any) -> Any:
        traced.append(1)
        return whole(program, *given, **named)

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", counted)
    onnx_export.export_onnx(float_graph(build(spec).eval(), spec), spec, tmp_path / "file.onnx")

    assert len(traced) == times


def test_the_exporter_reads_its_translations_once_for_all_files(files: Files) -> None:
    """By itself torch reads some 500 of them anew for each file: should it name that otherwise one day, this tells."""
    from torch.export import decomp_utils
    from torch.onnx._internal.exporter import _registration

    registration, composed = cast(Any, _registration), cast(Any, decomp_utils)
    for read_once in (registration.ONNXRegistry.from_torchlib, composed._collect_all_valid_cia_ops):
        found = read_once.cache_info()

        assert found.misses == 1
        assert found.hits >= 2 * len(MODELS) - 1
