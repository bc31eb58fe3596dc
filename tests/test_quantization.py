"""The quantizer: folding by hand, ranges by target, conversion that changes nothing."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekd.config.schemes import INT8, INT8_IN_7_BITS, SCHEMES, Scheme
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.quantization.batchnorm import fold_factor, folded_tensors
from edgekd.quantization.quantizer import SCALE_FLOOR
from edgekd.zoo import ModelSpec, build

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=16)


def images(count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 1, 16, 16), generator=generator)
    return ((pixels - 128) / 64).to(memory_format=torch.channels_last)


def trained_a_little(spec: ModelSpec = SPEC) -> nn.Module:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    model = build(spec)
    with torch.no_grad():
        for _ in range(3):
            model.train()(images(32))
    return model.eval()


def test_a_batch_norm_is_folded_as_computed_by_hand() -> None:
    weight, bias = torch.full((1, 1, 1, 1), 3.0), torch.tensor([1.0])
    gamma, beta, mean, variance = (torch.tensor([value]) for value in (2.0, 5.0, 4.0, 3.75))

    folded, shift = folded_tensors(weight, bias, gamma, beta, mean, variance, epsilon=0.25)

    assert folded.item() == pytest.approx(3.0)  # 3 * 2 / sqrt(4)
    assert shift.item() == pytest.approx(2.0)  # (1 - 4) * 1 + 5


def test_a_folded_network_answers_like_the_network_itself() -> None:
    model = trained_a_little()

    graph = float_graph(model, SPEC)

    targets = {str(node.target) for node in graph.graph.nodes}
    assert not any("batch_norm" in target for target in targets)
    with torch.no_grad():
        torch.testing.assert_close(graph(images()), model(images()), rtol=1e-4, atol=1e-5)


def test_folding_uses_the_epsilon_of_each_batch_norm() -> None:
    model = trained_a_little()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.1

    quantized = QuantizedModel(model, SPEC, INT8)
    quantized.calibrate([images()])

    with torch.no_grad():
        torch.testing.assert_close(float_graph(model, SPEC)(images()), model(images()), rtol=1e-4, atol=1e-5)
        assert (quantized(images()).argmax(1) == model(images()).argmax(1)).float().mean() > 0.8


def test_capturing_leaves_the_network_as_it_is() -> None:
    model = trained_a_little()
    before = copy.deepcopy(model.state_dict())

    quantized = QuantizedModel(model, SPEC, INT8)
    quantized.train()
    quantized(images()).sum().backward()

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("scheme", "limit"), [(INT8_IN_7_BITS, 63), (INT8, 127)])
def test_integer_weights_fill_and_keep_the_range_of_the_target(scheme: Scheme, limit: int) -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, scheme)
    quantized.calibrate([images()])

    integers = quantized.integers()

    weights = [value for value in integers.state_dict().values() if value.dtype == torch.int8]
    weights = [value for value in weights if value.dim() > 1]
    assert len(weights) == 10  # 7 convolutions on the main path, 2 shortcuts, 1 classifier
    assert max(int(value.abs().max()) for value in weights) == limit
    assert all(int(value.min()) >= -limit for value in weights)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_weights_are_rounded_in_training_with_the_scale_they_have_in_the_file(scheme: Scheme) -> None:
    """Conversion computes scales anew from the ranges; torchao's fused module trains with others, up to 1.6 % off."""
    quantized = QuantizedModel(trained_a_little(), SPEC, scheme)
    quantized.calibrate([images()])

    modules: list[Any] = list(quantized.graph.modules())
    weights = [module for module in modules if getattr(module, "is_per_channel", False)]

    assert len(weights) == 10
    assert all(torch.equal(weight.scale, weight.calculate_qparams()[0]) for weight in weights)


def test_conversion_gives_what_training_saw() -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, INT8_IN_7_BITS)
    quantized.calibrate([images()])

    with torch.no_grad():
        simulated, converted = quantized(images()), quantized.integers()(images())

    # a rounding tie may fall to the other side: one step of one activation
    assert (simulated - converted).abs().max() < 0.02 * simulated.abs().max()
    assert torch.equal(simulated.argmax(1), converted.argmax(1))


def test_a_saved_state_gives_the_same_answers_in_another_model() -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, INT8_IN_7_BITS)
    quantized.calibrate([images()])

    again = QuantizedModel(build(SPEC), SPEC, INT8_IN_7_BITS)
    again.load_state_dict(quantized.state_dict())
    again.eval()

    with torch.no_grad():
        assert torch.equal(again(images()), quantized(images()))


def test_evaluation_changes_no_range_and_no_statistic() -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, INT8)
    quantized.calibrate([images()])
    quantized.train()
    quantized(images())
    quantized.eval()
    before = copy.deepcopy(quantized.state_dict())

    with torch.no_grad():
        quantized(images() * 100)

    assert all(torch.equal(before[name], value) for name, value in quantized.state_dict().items())


def test_frozen_batch_norms_and_ranges_stay_in_training() -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, INT8)
    quantized.calibrate([images()])
    quantized.freeze_batchnorm()
    quantized.freeze_activations()
    quantized.train()
    before = copy.deepcopy(quantized.state_dict())

    quantized(images() * 3)

    after = quantized.state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)


def test_batch_norms_learn_until_they_are_frozen() -> None:
    quantized = QuantizedModel(trained_a_little(), SPEC, INT8)
    quantized.calibrate([images()])
    quantized.train()
    before = copy.deepcopy(quantized.state_dict())

    quantized(images() * 3)

    changed = [
        name for name in before if "running" in name and not torch.equal(before[name], quantized.state_dict()[name])
    ]
    assert changed


def test_a_dead_and_a_huge_channel_keep_scales_finite_and_above_the_floor() -> None:
    model = trained_a_little()
    conv, norm = model.get_submodule("layer1.0.conv1"), model.get_submodule("layer1.0.bn1")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        conv.weight[0] = 0
        norm.weight[1] = 0
        conv.weight[2] *= 1e4

    quantized = QuantizedModel(model, SPEC, INT8)
    quantized.calibrate([images()])
    quantized.train()
    quantized(images()).sum().backward()
    quantized.eval()

    scales = torch.cat([value.ravel() for name, value in quantized.state_dict().items() if name.endswith("scale")])
    assert scales.isfinite().all()
    assert (scales >= SCALE_FLOOR).all()
    assert scales.max() > 1e3 * scales.median()  # the huge channel is there
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in quantized.parameters())
    assert quantized(images()).isfinite().all()
    assert quantized.integers()(images()).isfinite().all()


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e30])
def test_a_network_of_extreme_weights_is_trained_with_finite_scales(weight: float) -> None:
    """Whole layers dead, next to dead, or so large that only the batch norm behind them saves the day."""
    model = trained_a_little()
    with torch.no_grad():
        model.get_submodule("layer1.0.conv1").weight.fill_(weight)  # type: ignore[operator]

    quantized = QuantizedModel(model, SPEC, INT8)
    quantized.calibrate([images()])
    optimizer = torch.optim.SGD(quantized.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(quantized.train()(images()), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    quantized.eval()

    scales = torch.cat([value.ravel() for name, value in quantized.state_dict().items() if name.endswith("scale")])
    assert scales.isfinite().all()
    assert (scales >= SCALE_FLOOR).all()


def test_the_fold_factor_of_a_dead_channel_is_never_zero() -> None:
    factor = fold_factor(torch.zeros(2), torch.ones(2), 1e-5)

    assert (factor != 0).all()
