"""Weights of few bits: scales by least squares, batch norms set anew, what ``weight_bits`` asks for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.config import validate
from edgekd.config.schemes import INT8, W2, W3, W4, Scheme
from edgekd.config.target import Target
from edgekd.errors import ConfigError, EdgekdError
from edgekd.ondevice.machine import ISAS, isa_warning
from edgekd.pipeline import Pipeline
from edgekd.quantization import QuantizedModel
from edgekd.quantization.least_squares import fitted_scale, refined_scale, rounded, squared_error
from edgekd.quantization.sensitivity import LayerLoss, layer_losses, mixes
from edgekd.stages import Ptq, Qat
from edgekd.stages.bits import Bits
from edgekd.stages.manifests import ExportedFiles, IntegerModel, manifest_of
from edgekd.zoo import ModelSpec, build, random_images
from tests.chain import write_pipeline
from tests.made import said
from tests.tiny import SPEC, tiny_convnet

FEW = (W4, W3, W2)


def test_the_scale_of_ternary_weights_is_the_mean_of_those_that_stay_by_hand() -> None:
    weights = torch.tensor([[0.9, -1.1, 0.1, 1.0], [0.0, 0.0, 0.0, 2.0]])

    scale = fitted_scale(weights, 1)

    assert scale.tolist() == pytest.approx([(0.9 + 1.1 + 1.0) / 3, 2.0])
    assert rounded(weights, scale, 1).tolist() == [[1, -1, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_least_squares_leaves_less_than_the_largest_weight_does_and_refining_never_more(limit: int) -> None:
    weights = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    largest = weights.abs().amax(1) / limit

    fitted = fitted_scale(weights, limit)
    errors = [squared_error(weights, scale, limit) for scale in (largest, fitted)]
    refined = squared_error(weights, refined_scale(weights, largest, limit), limit)

    assert bool((errors[1] <= errors[0]).all())
    assert errors[1].sum() < 0.9 * errors[0].sum()
    assert bool((refined <= errors[0] * (1 + 1e-5)).all())


def test_ternary_weights_of_a_normal_distribution_have_its_known_best_scale() -> None:
    """Max (1960): three levels of a unit normal distribution lie at 0 and +-1.224, with a squared error of 0.190."""
    weights = torch.randn(8, 200_000, generator=torch.Generator().manual_seed(0))

    scale = fitted_scale(weights, 1)

    assert scale.tolist() == pytest.approx([1.224] * 8, abs=0.01)
    assert (squared_error(weights, scale, 1) / 200_000).tolist() == pytest.approx([0.190] * 8, abs=0.002)


def test_a_row_of_zeros_keeps_finite_weights() -> None:
    zeros = torch.zeros(1, 4)

    assert rounded(zeros, fitted_scale(zeros, 1), 1).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("scheme", FEW, ids=lambda scheme: scheme.name)
def test_scales_of_few_bits_are_numbers_that_16_bits_hold(scheme: Scheme) -> None:
    model = QuantizedModel(tiny_convnet(), SPEC, scheme)
    model.calibrate([random_images(SPEC, 16)])

    modules: list[Any] = [module for module in model.graph.modules() if getattr(module, "is_per_channel", False)]

    assert modules
    for module in modules:
        assert torch.equal(module.scale, module.scale.half().float())
        assert torch.equal(module.scale, module.calculate_qparams()[0])


def test_batch_norms_move_by_what_rounding_moves_of_what_they_see_by_hand() -> None:
    """With least squares the integers do not depend on a channel's factor, so that raw weights can be rounded here."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 16, 3)).eval()
    layers[2].running_mean, layers[2].running_var = torch.full((8,), 5.0), torch.full((8,), 3.0)
    batches = [random_images(SPEC, 8) * factor for factor in (1.0, 3.0)]
    model = QuantizedModel(network, SPEC, W2, chosen={"0": 8})

    model.correct_batchnorm(lambda: batches)

    weight = layers[1].weight.detach().flatten(1)
    scale = fitted_scale(weight, 1)
    ternary = (rounded(weight, scale, 1) * scale[:, None]).reshape(8, 8, 3, 3)
    with torch.no_grad():
        given, exact = ([F.conv2d(layers[0](b), w) for b in batches] for w in (ternary, layers[1].weight))
    means = [torch.stack([batch.mean((0, 2, 3)) for batch in of]).mean(0) for of in (given, exact)]
    variances = [torch.stack([batch.var((0, 2, 3)) for batch in of]).mean(0) for of in (given, exact)]
    state = model.state_dict()
    torch.testing.assert_close(state["graph.2.running_mean"], 5.0 + means[0] - means[1], rtol=0.02, atol=0.02)
    torch.testing.assert_close(state["graph.2.running_var"], 3.0 * variances[0] / variances[1], rtol=0.02, atol=0.02)


def test_bits_by_layer_are_as_asked_and_first_last_and_depthwise_keep_seven() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(),
        nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 3),
    )  # fmt: skip

    assert QuantizedModel(network, SPEC, W2).bits == {"0": 7, "2": 7, "4": 2, "6": 2, "9": 7}
    assert QuantizedModel(network, SPEC, INT8).bits == dict.fromkeys(("0", "2", "4", "6", "9"), 8)
    assert QuantizedModel(network, SPEC, W4, chosen={"6": 2, "0": 8}).bits["6"] == 2


@pytest.mark.parametrize(
    ("given", "scheme", "chosen"),
    [
        (None, "int8 in 7 bits", {}),
        (4, "w4", {}),
        ({"default": 2, "conv": 4}, "w2", {"conv": 4}),
        ({"conv": 3}, "int8 in 7 bits", {"conv": 3}),
    ],
)
def test_weight_bits_say_a_scheme_and_what_departs_from_it(
    given: int | dict[str, int] | None, scheme: str, chosen: dict[str, int]
) -> None:
    found = Bits.of(given, Target(isa="x86-avx2"))

    assert (found.scheme.name, dict(found.chosen)) == (scheme, chosen)


def test_training_with_few_bits_has_other_defaults_and_what_is_said_wins() -> None:
    eight, two = Qat(), validate(Qat, {"stage": "qat", "weight_bits": 2, "epochs": 3}, "stages[0]")

    assert (eight.epochs, eight.lr, eight.freeze_batchnorm_at) == (6, 0.002, 0.3)
    assert (two.epochs, two.lr, two.freeze_batchnorm_at) == (3, 0.02, 0.8)
    assert "weight_bits" not in eight.deciding_settings()
    assert two.deciding_settings()["weight_bits"] == 2


@pytest.mark.parametrize("bits", [1, 5, 16, {"default": 9}])
def test_bits_that_there_are_not_are_refused(bits: Any) -> None:
    with pytest.raises(ConfigError, match=r"weight_bits.*2, 3, 4, 7, 8"):
        validate(Ptq, {"stage": "ptq", "weight_bits": bits}, "stages[0]")


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ("{default: 4, nowhere: 8}", "there is no layer 'nowhere' with weights: name one of: "),
        ("8", "8-bit weights saturate on x86-avx2; take 7 at most"),
        ("{default: 2, nowhere: 8}", "8-bit weights saturate on x86-avx2"),
    ],
)
def test_a_layer_that_is_not_there_and_a_width_that_saturates_are_refused_before_training(
    bits: str, message: str, tmp_path: Path
) -> None:
    isa = "x86-avx2" if "saturate" in message else "x86-vnni"
    text = f"""
    name: q
    data: {{name: digits, image_size: 8}}
    target: {{isa: {isa}, threads: 1}}
    stages:
      - {{stage: teacher, model: "tests.tiny:own_network", epochs: 400, batch_size: 256}}
      - {{stage: ptq, weight_bits: {bits}}}
      - {{stage: export}}
    """

    with pytest.raises(EdgekdError) as caught:
        Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")

    assert message.split(": name")[0] in str(caught.value)
    assert not list((tmp_path / "models").glob("*/manifest.json"))


def test_a_target_of_any_cpu_has_what_is_exact_on_all_and_warns_nowhere() -> None:
    target = Target(isa="any")

    assert target.scheme.name == "int8 in 7 bits"
    for scheme in (target.scheme, *FEW):
        assert all(scheme.exact_on(isa) for isa in ISAS)
        assert {isa_warning("any", scheme.widest_bits, isa) for isa in ISAS} == {""}
    assert "does not know" in isa_warning("any", 7, "riscv64")


@pytest.mark.slow
def test_a_pipeline_of_few_bits_tells_each_width_calibrated_and_trained(tmp_path: Path) -> None:
    text = """
    name: few
    data: {name: digits, image_size: 8}
    target: {isa: any, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 2, batch_size: 128}
      - {stage: ptq}
      - {stage: qat, id: w4, source: teacher, weight_bits: 4, epochs: 1, lr: 0.01}
      - {stage: qat, id: w2, source: teacher, weight_bits: 2, epochs: 2}
      - {stage: qat, id: alone, source: teacher, weight_bits: 2, epochs: 2, teacher: none}
      - {stage: export}
    budget: {accuracy_drop: 0.5}
    """
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, text))

    report = pipeline.run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    made = {item.name: item.artifact for item in pipeline.plan(tmp_path / "models") if item.artifact}
    assert said(made["w2"]).quantized.scheme == "w2"  # type: ignore[attr-defined]
    assert isinstance(said(made["w2"]), IntegerModel)
    files = {file.id: file for file in manifest_of(made["export"], ExportedFiles).exported}
    assert set(files["w2"].weights_by_bits) == {2, 7}
    assert set(files["w4"].weights_by_bits) == {4, 7}
    assert files["w2"].size_bytes < files["w4"].size_bytes < files["ptq"].size_bytes
    assert {file.kernels.float for file in files.values() if file.scheme} == {0}
    assert report.quantization is not None
    rows = {row.bits: row for row in report.quantization.calibrated}
    assert sorted(rows) == [2, 4, 7, 8]
    kept = {name: said(made[name]).quantized.kept for name in ("w4", "w2", "alone")}  # type: ignore[attr-defined]
    assert (rows[2].with_teacher is None) == (kept["w2"] == "ptq")
    assert (rows[2].with_labels is None) == (kept["alone"] == "ptq")
    assert rows[4].with_labels is None
    assert {model.precision for model in report.models} >= {"float32", "int8", "w4", "w2"}


def test_the_cheapest_mix_for_each_price_of_a_byte_by_hand() -> None:
    """A layer of 1000 weights that loses nothing goes first to two bits; one of 10 that loses much stays."""
    sensitive = LayerLoss("sensitive", 10, 7, {4: 0.5, 3: 1.0, 2: 2.0})
    robust = LayerLoss("robust", 1000, 7, {4: -0.1, 3: 0.0, 2: 0.1})  # at 4 bits noise: no gain

    found = list(mixes([sensitive, robust]))

    assert found[0] == {"sensitive": 2, "robust": 2}
    assert found[-1] == {"sensitive": 7, "robust": 3}  # bits that cost nothing are not kept
    bytes_of = [10 * mix["sensitive"] + 1000 * mix["robust"] for mix in found]
    assert bytes_of == sorted(bytes_of)
    assert {"sensitive": 7, "robust": 2} in found


def test_a_trial_leaves_the_model_as_it_was() -> None:
    network = tiny_convnet()
    model = QuantizedModel(network, SPEC, W2, chosen=dict.fromkeys(("0", "3", "8"), 7))
    images = [random_images(SPEC, 16)]
    model.correct_batchnorm(lambda: images)
    model.calibrate(images)
    before, state = model(images[0]), {name: value.clone() for name, value in model.state_dict().items()}

    def size_of_answer() -> float:
        return float(model(images[0]).detach().abs().mean())

    found = layer_losses(model, {"3": 2304}, ["3"], lambda: images, size_of_answer, lambda done, total: None)

    assert [layer.layer for layer in found] == ["3"]
    assert set(found[0].loss) == {4, 3, 2}
    assert all(abs(loss) > 0 for loss in found[0].loss.values())
    assert torch.equal(model(images[0]), before)
    changed = {
        name: (value, state[name]) for name, value in model.state_dict().items() if not torch.equal(value, state[name])
    }
    assert changed == {}


@pytest.mark.slow
def test_a_mix_of_bits_is_found_on_val_and_told(tmp_path: Path) -> None:
    text = """
    name: mix
    data: {name: digits, image_size: 8}
    target: {isa: any, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, epochs: 2, batch_size: 128}
      - {stage: ptq, weight_bits: auto, most_lost: 0.05, calibration_images: 128}
      - {stage: export}
    budget: {accuracy_drop: 0.5}
    """
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, text))

    report = pipeline.run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    made = {item.name: item.artifact for item in pipeline.plan(tmp_path / "models") if item.artifact}
    about = said(made["ptq"])
    assert isinstance(about, IntegerModel)
    assert about.quantized.scheme == "mixed"
    assert {layer.layer for layer in about.quantized.sensitivity} == set(about.quantized.chosen)
    file = next(file for file in manifest_of(made["export"], ExportedFiles).exported if file.id == "ptq")
    resnet8 = build(ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8))
    assert sum(file.weights_by_bits.values()) == sum(p.numel() for p in resnet8.parameters() if p.dim() > 1)
    assert min(file.weights_by_bits) < 7
    assert report.quantization is not None
    assert {layer.layer: layer.bits for layer in report.quantization.layers} == about.quantized.chosen
    page = (tmp_path / "exports" / "mix" / "report.html").read_text()
    assert "Sensitivity of the layers" in page


def test_most_lost_is_read_with_auto_alone() -> None:
    with pytest.raises(ConfigError, match=r"most_lost.*weight_bits is not auto"):
        validate(Ptq, {"stage": "ptq", "weight_bits": 4, "most_lost": 0.1}, "stages[0]")


@pytest.mark.slow
def test_a_network_whose_layers_all_keep_seven_bits_has_no_mix_to_choose(tmp_path: Path) -> None:
    text = """
    name: all_wide
    data: {name: digits, image_size: 8}
    target: {isa: any, threads: 1}
    stages:
      - {stage: teacher, model: "tests.test_few_bits:two_layers", epochs: 1, batch_size: 256}
      - {stage: ptq, weight_bits: auto, calibration_images: 64}
    """
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, text))

    pipeline.run(tmp_path / "models", tmp_path / "exports")

    about = said(next(item.artifact for item in pipeline.plan(tmp_path / "models") if item.name == "ptq"))  # type: ignore[arg-type]
    assert isinstance(about, IntegerModel)
    assert (about.quantized.chosen, about.quantized.sensitivity) == ({}, [])


def two_layers(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """The first and the last layer, and none between."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
    )
