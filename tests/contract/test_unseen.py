"""What networks with habits of their own keep on the way through prune, store, distill, qat and export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd import onnx_export
from edgekd.data import as_input
from edgekd.errors import ModelError, PruningError
from edgekd.onnx_export import ort
from edgekd.pruning.criteria import L2
from edgekd.pruning.prune import check_prunable
from edgekd.quantization import float_graph
from edgekd.zoo import ModelSpec, build, count_macs, count_params, ends_of, example_images
from edgekd.zoo.weights import IMAGENET_PIXELS, give_weights
from tests.contract import unseen
from tests.contract.test_zoo import Chain, pixels, settled, spec_of

pytestmark = pytest.mark.slow

ISLANDS = {
    "dilated_and_asymmetric": {"LeakyRelu"},
    "one_dimensional": {"ReduceMean", "ReduceMax"},
    "patches": {"Sub", "Div", "Gelu", "BatchNormalization"},
}
"""What runs in float, but for the borders around it."""


GROUPED = "depthwise_multiplier"
"""Every layer of it has its channels in common with a convolution of several channels a group."""
PRUNED = tuple(name for name in unseen.NAMES if name != GROUPED)
MOVED = {"patches": "changes the image before its first convolution"}
"""What a normalisation cannot be folded into, and why."""


@pytest.fixture(scope="module", params=PRUNED)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """One network after the other through the whole chain; only one is held at a time."""
    return Chain(f"tests.contract.unseen:{request.param}", tmp_path_factory.mktemp("unseen"))


def kind(chain: Chain) -> str:
    return chain.name.rpartition(":")[2]


def test_it_is_really_smaller_and_comes_back_bit_by_bit(chain: Chain) -> None:
    saved, loaded = chain.answers
    whole = build(chain.spec)

    assert torch.equal(saved, loaded)
    assert count_params(chain.reloaded) == count_params(chain.pruned) < count_params(whole)
    assert count_macs(chain.reloaded, chain.spec) < count_macs(whole, chain.spec)


def test_what_its_layers_had_in_common_they_still_have(chain: Chain) -> None:
    names = [len(dict(m.named_parameters(remove_duplicate=False))) for m in (chain.reloaded, build(chain.spec))]
    alone = [len(dict(m.named_parameters())) for m in (chain.reloaded, build(chain.spec))]

    assert names[0] == names[1]
    assert alone[0] == alone[1]


def test_its_float_file_answers_as_torch_does(chain: Chain, tmp_path: Path) -> None:
    onnx_export.export_onnx(float_graph(chain.reloaded, chain.spec), chain.spec, tmp_path / "float.onnx")

    found = ort.predict(ort.session(tmp_path / "float.onnx"), pixels(4).numpy())

    with torch.no_grad():
        wanted = chain.reloaded(as_input(pixels(4))).numpy()
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_its_integer_file_answers_and_costs_as_the_rounded_network_does(chain: Chain) -> None:
    """Loosely, as of the zoo: an untrained network makes much of a rounding tie."""
    images = pixels(32, seed=3)

    found = ort.predict(ort.session(chain.path), images.numpy())

    with torch.no_grad():
        wanted = chain.quantized(as_input(images)).numpy()
    assert np.abs(found - wanted).mean() < 0.5 * wanted.std()
    dropped = 32 * 7 if kind(chain) == "two_heads" else 0
    spared = count_macs(chain.reloaded, chain.spec) - onnx_export.count_macs(chain.path)
    assert 0 <= spared <= dropped


def test_nothing_else_of_it_runs_in_float(chain: Chain) -> None:
    found = {operation.split()[0] for operation in onnx_export.census(chain.optimised).float_ops}

    assert found - {"QuantizeLinear", "DequantizeLinear"} <= ISLANDS.get(kind(chain), set())


def test_a_network_that_can_lose_nothing_is_refused_in_one_line_before_training() -> None:
    spec = spec_of(f"tests.contract.unseen:{GROUPED}")

    with pytest.raises(PruningError, match=r"no layer can lose channels \(kept: a grouped convolution\)") as caught:
        check_prunable(build(spec), spec, 0.5, None, importance=L2(), scope="layer", max_ratio=0.8, isa="x86-avx2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", unseen.NAMES)
def test_a_normalisation_is_folded_or_refused_in_one_line(name: str) -> None:
    """Without padding every pixel is an inner one."""
    spec = spec_of(f"tests.contract.unseen:{name}")
    told = unpadded(settled(spec), spec)
    folded = unpadded(build(spec := spec.model_copy(update={"stem_bias": True})).eval(), spec)
    if name in MOVED:
        with pytest.raises(ModelError, match=MOVED[name]) as caught:
            give_weights(folded, spec, told.state_dict(), IMAGENET_PIXELS)
        assert "\n" not in str(caught.value)
        return

    give_weights(folded, spec, told.state_dict(), IMAGENET_PIXELS)

    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_PIXELS.mean, IMAGENET_PIXELS.std))
    images = pixels(4)
    with torch.no_grad():
        wanted = told((images.permute(0, 3, 1, 2) / 255 - mean) / std)
        assert torch.allclose(folded(as_input(images)), wanted, rtol=1e-3, atol=1e-4)


def unpadded(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """The network, nothing put around its images."""
    for name in ends_of(model, example_images(spec)).stems:
        stem = model.get_submodule(name)
        assert isinstance(stem, nn.Conv2d)
        stem.padding = (0, 0)
    for layer in model.modules():
        if isinstance(layer, nn.ZeroPad2d):
            layer.padding = (0, 0, 0, 0)
    return model
