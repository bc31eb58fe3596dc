"""Parallel branches that are one convolution are merged; what is not one stays."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgekd.quantization.branches import aten
from edgekd.quantization.capture import capture

IMAGES = torch.randn(3, 4, 9, 7, generator=torch.Generator().manual_seed(0))


class Summed(nn.Module):
    """A sum of branches that read the same images, and whatever follows."""

    def __init__(self, *branches: nn.Module, then: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.branches, self._then = nn.ModuleList(branches), then

    def forward(self, images: Tensor) -> Tensor:
        first, *rest = (branch(images) for branch in self.branches)
        for found in rest:
            first = first + found
        return self._then(first)


class Mixer(nn.Module):
    """``x + gamma * (convolution(x) - norm(x))``, as FastViT has it."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.norm = conv(3), nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(images + self.gamma * (self.mixer(images) - self.norm(images)))


def conv(size: int, outputs: int = 4, norm: bool = True, **about: int) -> nn.Module:
    padding = about.get("padding", about.get("dilation", 1) * (size - 1) // 2)
    stride, dilation, groups = (about.get(key, 1) for key in ("stride", "dilation", "groups"))
    layer = nn.Conv2d(4, outputs, size, stride, padding, dilation, groups, bias=not norm)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs)) if norm else layer


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, its batch norms with statistics and scales that are no one's default."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -1), (module.running_var, 0.5), (module.weight, 0.5)):
                assert tensor is not None
                tensor.data.uniform_(low, 2, generator=generator)
            module.bias.data.uniform_(-1, 1, generator=generator)
    return model.eval()


def convolutions(graph: fx.GraphModule) -> list[str]:
    return [str(node.args[1]) for node in graph.graph.nodes if node.target == aten.conv2d.default]


def operators(graph: fx.GraphModule) -> list[str]:
    return [node.target._opname for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    "model",
    [
        Summed(conv(3), conv(1), nn.BatchNorm2d(4)),
        Summed(conv(3), nn.Identity()),
        Summed(conv(3, 6, stride=2), conv(1, 6, stride=2)),
        Summed(conv(3, groups=4), conv(1, groups=4), nn.BatchNorm2d(4)),
        Summed(conv(3, groups=2), conv(3, groups=2), conv(1, groups=2), nn.Identity()),
        Summed(conv(7), conv(3), conv(3, dilation=2)),
        Summed(conv(3, norm=False), conv(1, norm=False)),
        Mixer(),
    ],
    ids=["repvgg", "skip", "stride", "depthwise", "groups", "large", "biases", "mixer"],
)
def test_branches_become_one_convolution_with_the_same_answers(model: nn.Module) -> None:
    settled(model)

    graph = capture(model, IMAGES)

    assert operators(graph) == ["conv2d", "relu"]
    with torch.inference_mode():
        assert torch.allclose(graph(IMAGES), model(IMAGES), atol=2e-5)


def test_a_merged_layer_has_the_name_of_its_largest_branch_and_is_trained() -> None:
    graph = capture(settled(Summed(conv(1), conv(3))), IMAGES)

    names = dict(graph.named_parameters())

    assert list(names) == ["branches.1.0.weight", "branches.1.0.merged_bias"]
    assert all(isinstance(tensor, nn.Parameter) and tensor.dtype == torch.float32 for tensor in names.values())


def test_a_norm_behind_the_sum_stays_beside_the_convolution() -> None:
    norm = nn.BatchNorm2d(4)
    model = settled(nn.Sequential(Summed(conv(3), nn.Identity(), then=lambda images: images), norm, nn.ReLU()))

    assert operators(capture(model, IMAGES)) == ["conv2d", "batch_norm", "relu"]


@pytest.mark.parametrize(
    "model",
    [
        Summed(nn.Sequential(conv(3), nn.ReLU()), conv(1)),
        Summed(conv(3), nn.Sequential(conv(1), conv(1))),
        Summed(conv(3), conv(3, padding=2, dilation=2)),
        Summed(nn.Conv2d(4, 4, (3, 1), padding=(1, 0)), nn.Conv2d(4, 4, (1, 3), padding=(0, 1))),
        Summed(conv(2, padding=1), nn.Conv2d(4, 4, 2, padding=1), then=lambda images: images * images[:, :1]),
        Summed(nn.BatchNorm2d(4), nn.Identity()),
    ],
    ids=["activation", "other images", "wider", "cross", "read twice", "no convolution"],
)
def test_what_is_not_one_convolution_keeps_its_answers(model: nn.Module) -> None:
    settled(model)

    graph = capture(model, IMAGES)

    with torch.inference_mode():
        assert torch.allclose(graph(IMAGES), model(IMAGES), atol=2e-5)


def test_shared_weights_are_not_merged() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(F.relu(self.conv(images) + images))  # type: ignore[no-any-return]

    model = Twice().eval()

    graph = capture(model, IMAGES)

    assert len(convolutions(graph)) == 2
    with torch.inference_mode():
        assert torch.allclose(graph(IMAGES), model(IMAGES), atol=1e-5)


def test_timm_s_repvgg_is_as_short_as_timm_makes_it() -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    for name in ("repvgg_a0", "mobileone_s0"):
        model = settled(timm.create_model(name, num_classes=3))
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

        graph = capture(model, images)

        merged = timm.utils.reparameterize_model(model)
        assert len(convolutions(graph)) == sum(isinstance(module, nn.Conv2d) for module in merged.modules())
