"""What every network of the zoo keeps: pruned, stored, taught, quantized and exported, it answers as torch does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd import onnx_export
from edgekd.config.schemes import INT8_IN_7_BITS
from edgekd.data import as_input
from edgekd.errors import PruningError, QuantizationError
from edgekd.onnx_export import ort
from edgekd.pruning.criteria import L2, BatchNormScale, Importance, Taylor
from edgekd.pruning.prune import prune
from edgekd.pruning.scores import accumulate_gradients
from edgekd.quantization import QuantizedModel, check_quantizable
from edgekd.stages.drift import followed
from edgekd.store.artifacts import Store, digest_of
from edgekd.training.losses import kd_loss
from edgekd.zoo import ModelSpec, build, check_name, count_macs
from tests.contract import shorter
from tests.made import loaded, stored_model
from tests.tiny import blurred_colours

pytestmark = pytest.mark.slow

INTEGER = (
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50", "efficientnet_b0",
    "mnasnet1_0", "squeezenet1_1", "densenet121", "googlenet", "regnet_y_400mf", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "vgg11_bn", "timm/efficientnet_lite0", "timm/mobilenetv2_050",
)  # fmt: skip
"""Nothing of these runs in float."""
BORDERS = {"QuantizeLinear", "DequantizeLinear"}
ISLANDS = {
    "convnext_tiny": {"LayerNormalization", "Gelu", *BORDERS},
    "tests.odd:convnext": {"LayerNormalization", "Gelu", *BORDERS},
    "tests.odd:pixel_shuffle": {"DepthToSpace", "PRelu", "ConvTranspose", *BORDERS},
}
"""What ONNX Runtime has no integer kernel for, and the borders around it."""
NAMES = (*INTEGER, *ISLANDS)

WITHOUT_SOME_BATCH_NORM = {
    "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "squeezenet1_1", "regnet_y_400mf", "vgg11_bn",
    "convnext_tiny", "tests.odd:convnext", "tests.odd:pixel_shuffle",
}  # fmt: skip
KERNELS = {"tests.odd:pixel_shuffle": 10}
"""Fewer than 17 of the small ones run in integers."""
SIZE, CLASSES = 32, 5


def spec_of(name: str) -> ModelSpec:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    built = f"tests.contract.shorter:{name}" if hasattr(shorter, name) else name
    check_name(built)
    return ModelSpec(name=built, num_classes=CLASSES, in_channels=3, image_size=SIZE)


def pixels(count: int, seed: int = 0) -> Tensor:
    return blurred_colours(count, SIZE, seed)


def settled(spec: ModelSpec) -> nn.Module:
    """A network whose batch norms have the statistics of a batch."""
    torch.manual_seed(0)
    model = build(spec).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(as_input(pixels(8)))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return model.eval()


def smaller(model: nn.Module, spec: ModelSpec, importance: Importance) -> nn.Module:
    return prune(model, spec, 0.5, importance=importance, scope="layer", max_ratio=0.8, isa="x86-avx2").model


def one_step(model: nn.Module, teacher: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with torch.no_grad():
        wanted = teacher(as_input(pixels(4, seed=1)))
    model.train()
    kd_loss(model(as_input(pixels(4, seed=1))), wanted, 4.0).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    model.eval()


@pytest.mark.parametrize("importance", [L2(), Taylor(), BatchNormScale()], ids=lambda importance: importance.name)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_pruned_by_each_importance_or_refused_in_one_line(name: str, importance: Importance) -> None:
    spec = spec_of(name)
    torch.manual_seed(0)
    model = build(spec).eval()
    if importance.name == "bn" and name in WITHOUT_SOME_BATCH_NORM:
        with pytest.raises(PruningError, match="finds nothing to score") as caught:
            smaller(model, spec, importance)
        assert "\n" not in str(caught.value)
        return

    accumulate_gradients(model, [(as_input(pixels(4)), torch.arange(4))])
    pruned = smaller(model, spec, importance)

    assert count_macs(pruned, spec) < 0.7 * count_macs(model, spec)
    with torch.no_grad():
        assert pruned(as_input(pixels(3))).isfinite().all()


@pytest.fixture(scope="module", params=NAMES)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Chain":
    """One network after the other through the whole chain; only one is held at a time."""
    return Chain(request.param, tmp_path_factory.mktemp("zoo"))


class Chain:
    """A network pruned, stored, taught, quantized, trained a step and exported."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.spec = name, spec_of(name)
        teacher = settled(self.spec)
        self.pruned = smaller(teacher, self.spec, L2())
        self.reloaded, _ = loaded(stored_model(Store(folder), digest_of({}), self.pruned, self.spec))
        with torch.no_grad():
            self.answers = [model(as_input(pixels(4))) for model in (self.pruned, self.reloaded)]
        one_step(self.reloaded, teacher)
        self.quantized = QuantizedModel(self.reloaded, self.spec, INT8_IN_7_BITS)
        self.quantized.calibrate([as_input(pixels(8))])
        one_step(self.quantized, teacher)
        self.integers = self.quantized.integers()
        self.path, self.optimised = folder / "int8.onnx", folder / "optimised.onnx"
        onnx_export.export_onnx(self.integers, self.spec, self.path)
        ort.session(self.path, optimised=self.optimised)


def test_a_pruned_network_comes_back_from_the_store_bit_by_bit(chain: Chain) -> None:
    saved, loaded = chain.answers

    assert torch.equal(saved, loaded)


def test_its_file_runs_in_integers_but_for_what_has_no_integer_kernel(chain: Chain) -> None:
    census = onnx_export.census(chain.optimised)

    assert {op.split()[0] for op in census.float_ops} <= ISLANDS.get(chain.name, set())
    assert census.integer >= KERNELS.get(chain.name, 17)


def test_its_file_costs_what_the_network_does(chain: Chain) -> None:
    assert onnx_export.count_macs(chain.path) == count_macs(chain.reloaded, chain.spec)


def test_its_weights_stay_within_seven_bits(chain: Chain) -> None:
    assert onnx_export.weight_range(chain.path) == 63


def test_every_kernel_of_its_file_gives_what_torch_gives_of_the_same_input(chain: Chain) -> None:
    """Each rounded tensor is compared and then replaced by ONNX Runtime's, so that no difference grows on its way."""
    found = followed(chain.integers, chain.path, pixels(4, seed=2))

    assert len(found) >= KERNELS.get(chain.name, 17)
    assert all(local.right for local in found), found[0]


def test_its_file_answers_as_the_rounded_network_did(chain: Chain) -> None:
    """Loosely: an untrained network makes much of a rounding tie; the test before this one is the strict one."""
    images = pixels(32, seed=3)

    found = ort.predict(ort.session(chain.path), images.numpy())

    with torch.no_grad():
        wanted = chain.quantized(as_input(images)).numpy()
    assert found.shape == wanted.shape == (32, CLASSES)
    assert np.abs(found - wanted).mean() < 0.5 * wanted.std()


class Undecided(nn.Module):
    """A network whose graph depends on its numbers: nothing can capture it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean() if bool(images.sum() > 0) else images


def test_quantization_can_be_checked_before_training() -> None:
    spec = spec_of("mobilenet_v3_small")

    check_quantizable(build(spec), spec)
    with pytest.raises(QuantizationError, match="cannot be captured") as caught:
        check_quantizable(Undecided(), spec)
    assert "\n" not in str(caught.value)
