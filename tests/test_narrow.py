"""Training is kept clear of the convolutions that oneDNN computes wrongly."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.config.schemes import INT8_IN_7_BITS
from edgekd.quantization import QuantizedModel
from edgekd.training.safe_backward import endangered, planar, trained_safely
from edgekd.zoo import ModelSpec, build, example_images

ROOT = Path(__file__).parent.parent
NARROW = ModelSpec(name="resnet8", num_classes=10, in_channels=3, image_size=40, width_mult=0.25)
TRAINS = """
import sys, torch
from torch.nn import functional as F
from edgekd.training.safe_backward import trained_safely
from edgekd.quantization import QuantizedModel
from edgekd.config.schemes import INT8_IN_7_BITS
from edgekd.zoo import build
from tests.test_narrow import NARROW
torch.set_num_threads(2)
model = build(NARROW)
if sys.argv[1] == "integers":
    model = QuantizedModel(model, NARROW, INT8_IN_7_BITS)
    model.calibrate([torch.randn(8, 3, 40, 40)])
model.train()
images = torch.randn(64, 3, 40, 40).to(memory_format=torch.channels_last)
with trained_safely(model):
    for _ in range(30):
        F.cross_entropy(model(images), torch.arange(64) % 10).backward()
"""


@pytest.mark.parametrize(
    ("shape", "stride", "expected"),
    [
        ((8, 4, 1, 1), (2, 2), True),
        ((8, 15, 1, 1), (1, 2), True),
        ((8, 16, 1, 1), (2, 2), False),
        ((8, 4, 1, 1), (1, 1), False),
        ((8, 4, 3, 3), (2, 2), False),
    ],
)
def test_only_a_strided_1x1_convolution_over_few_channels_is_endangered(
    shape: tuple[int, ...], stride: tuple[int, int], expected: bool
) -> None:
    assert endangered(torch.empty(shape), stride) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["floats", "integers"])
def test_a_narrow_network_trains_to_the_end(kind: str) -> None:
    """On a CPU with AVX2 and two threads it hung, on one with AVX-512 it could crash."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", TRAINS, kind], cwd=ROOT, check=True, timeout=120)


def test_images_come_as_planes_only_while_it_lasts_and_only_where_they_must() -> None:
    model, seen = build(NARROW).train(), dict[str, bool]()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, args, __, name=name: seen.__setitem__(name, args[0].is_contiguous()))
    images = torch.randn(2, 3, 40, 40).to(memory_format=torch.channels_last)

    with trained_safely(model):
        inside = model(images)
    planes = {name for name, contiguous in seen.items() if contiguous}
    outside = model(images)

    assert planes == {"layer2.0.shortcut.0", "layer3.0.shortcut.0"}
    assert not any(seen.values())
    torch.testing.assert_close(inside, outside)


def test_the_graph_that_is_exported_knows_nothing_of_planes() -> None:
    model = QuantizedModel(build(NARROW), NARROW, INT8_IN_7_BITS)
    model.calibrate([example_images(NARROW, 2)])

    assert sum(node.target is planar for node in model.graph.graph.nodes) == 2
    assert not any(node.target is planar for node in model.integers().graph.nodes)
    assert sum(node.target is planar for node in model.graph.graph.nodes) == 2


def test_gradients_are_those_of_the_other_layout() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 1, 2, bias=False)
    images, coefficients = torch.randn(4, 4, 8, 8), torch.randn(4, 8, 4, 4)
    with trained_safely(conv):
        (conv(images.to(memory_format=torch.channels_last)) * coefficients).sum().backward()

    by_hand = torch.einsum("nohw,nihw->oi", coefficients, images[:, :, ::2, ::2])
    assert conv.weight.grad is not None
    torch.testing.assert_close(conv.weight.grad[:, :, 0, 0], by_hand)
