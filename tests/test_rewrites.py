"""Rewrites of captured graphs: each gives what torch's own operator gives, by formula or by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgekd.quantization.batchnorm import fold_batchnorm, with_convolutions_before
from edgekd.quantization.canonical import pooling_matrix
from edgekd.quantization.capture import capture
from edgekd.quantization.rewrites import with_integer_operators

aten = torch.ops.aten


class Operator(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def images(*shape: int) -> Tensor:
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def targets(graph: fx.GraphModule) -> set[Any]:
    return {node.target for node in graph.graph.nodes if node.op == "call_function"}


def answer(graph: fx.GraphModule, batch: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = graph(batch)
    return found


@pytest.mark.parametrize(
    ("operator", "gone"),
    [
        (F.hardswish, aten.hardswish.default),
        (F.hardsigmoid, aten.hardsigmoid.default),
        (F.silu, aten.silu.default),
        (lambda x: F.hardswish(x) + x, aten.hardswish.default),
    ],
)
def test_a_gate_in_sums_clips_and_products_is_the_gate(operator: Callable[[Tensor], Tensor], gone: Any) -> None:
    batch = torch.cat([images(2, 3, 4, 4), torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)])
    graph = capture(Operator(operator), batch)

    with_integer_operators(graph)

    assert gone not in targets(graph)
    torch.testing.assert_close(answer(graph, batch), operator(batch), rtol=1e-6, atol=1e-6)


def test_the_three_of_a_hardsigmoid_goes_into_the_bias_before_it() -> None:
    conv = nn.Conv2d(3, 4, 1)
    graph = capture(nn.Sequential(conv, nn.Hardsigmoid()), images(2, 3, 4, 4))

    with_integer_operators(graph)

    assert aten.add.Tensor not in targets(graph)
    biases = [parameter for parameter in graph.parameters() if parameter.dim() == 1]
    torch.testing.assert_close(biases[0], conv.bias.detach() + 3)  # type: ignore[union-attr]
    with torch.no_grad():
        expected = F.hardsigmoid(conv(images(2, 3, 4, 4)))
    torch.testing.assert_close(answer(graph, images(2, 3, 4, 4)), expected, rtol=1e-6, atol=1e-6)


def test_a_layer_over_many_axes_works_on_rows() -> None:
    layer = nn.Linear(3, 5)
    graph = capture(layer, images(2, 4, 4, 3))

    with_integer_operators(graph)

    with torch.no_grad():
        torch.testing.assert_close(answer(graph, images(3, 4, 4, 3)), layer(images(3, 4, 4, 3)))
    product = next(node for node in graph.graph.nodes if node.target == aten.linear.default)
    assert product.args[0].target == aten.reshape.default


def lone_batchnorm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(2, eps=0.25)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0]))
        norm.bias.copy_(torch.tensor([5.0, 1.0]))
        norm.running_mean.copy_(torch.tensor([4.0, 0.0]))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.tensor([3.75, 0.75]))  # type: ignore[union-attr]
    return norm.eval()


def test_a_batch_norm_alone_becomes_a_convolution_per_channel_as_by_hand() -> None:
    graph = capture(nn.Sequential(nn.ReLU(), lone_batchnorm()), images(2, 2, 4, 4))

    with_convolutions_before(graph)
    fold_batchnorm(graph)

    conv = next(node for node in graph.graph.nodes if node.target == aten.conv2d.default)
    buffers = dict(graph.named_buffers())
    assert aten.batch_norm.default not in targets(graph)
    assert conv.args[6] == 2  # one group for each channel
    torch.testing.assert_close(buffers[conv.args[1].target].ravel(), torch.tensor([1.0, -1.0]))  # 2/sqrt(4), -1/sqrt(1)
    torch.testing.assert_close(buffers[conv.args[2].target], torch.tensor([1.0, 1.0]))  # 5 - 4 * 1, 1 - 0
    of_ones = answer(graph, torch.ones(1, 2, 4, 4))
    torch.testing.assert_close(of_ones[0, :, 0, 0], torch.tensor([2.0, 0.0]))


def test_a_batch_norm_whose_convolution_feeds_something_else_gets_its_own() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 2, 1), lone_batchnorm()

    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv, norm

        def forward(self, batch: Tensor) -> Tensor:
            features: Tensor = self.conv(batch)
            normed: Tensor = self.norm(features)
            return features + normed

    graph = capture(Forked(), images(2, 2, 4, 4))
    with_convolutions_before(graph)
    fold_batchnorm(graph)

    assert aten.batch_norm.default not in targets(graph)
    with torch.no_grad():
        expected = Forked()(images(2, 2, 4, 4))
    torch.testing.assert_close(answer(graph, images(2, 2, 4, 4)), expected, rtol=1e-5, atol=1e-5)


def test_pooling_to_a_larger_grid_repeats_and_averages_as_by_hand() -> None:
    """2 numbers to 3: the outer two are the numbers themselves, the middle window covers both."""
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])

    torch.testing.assert_close(pooling_matrix([1, 2], [1, 3]), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_adaptive_pooling_is_written_plainly_at_any_size(size: int, wanted: int) -> None:
    def pool(batch: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(batch, wanted) * 1.0

    graph = capture(Operator(pool), images(2, 3, size, size))
    with_integer_operators(graph)

    assert aten.adaptive_avg_pool2d.default not in targets(graph)
    torch.testing.assert_close(answer(graph, images(3, 3, size, size)), pool(images(3, 3, size, size)))


@pytest.mark.parametrize(
    "split",
    [
        lambda x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1),
        lambda x: torch.cat(x.split(3, dim=1)[::-1], dim=1),
        lambda x: torch.cat(x.split([1, 5, 2], dim=-1)[::-1], dim=3),
        lambda x: x.chunk(2, dim=1)[1] * 1.0,
    ],
)
def test_a_split_in_slices_is_the_split(split: Callable[[Tensor], Tensor]) -> None:
    graph = capture(Operator(split), images(2, 8, 4, 8))

    assert not {aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default} & targets(graph)
    torch.testing.assert_close(answer(graph, images(5, 8, 4, 8)), split(images(5, 8, 4, 8)))


def test_a_mean_that_drops_its_axes_is_pooling_and_a_reshape() -> None:
    graph = capture(Operator(lambda x: x.mean([2, 3])), images(2, 3, 4, 4))

    torch.testing.assert_close(answer(graph, images(5, 3, 4, 4)), images(5, 3, 4, 4).mean([2, 3]))
    mean = next(node for node in graph.graph.nodes if node.target == aten.mean.dim)
    assert mean.args[2] is True


def test_a_concatenation_of_one_part_is_gone() -> None:
    graph = capture(Operator(lambda x: torch.cat([x], 1) * 2.0), images(2, 3, 4, 4))

    assert aten.cat.default not in targets(graph)
