"""Pruning: widths by hand, what survives, what is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgekd.errors import PruningError
from edgekd.ondevice.machine import Isa
from edgekd.pruning.criteria import L2, BatchNormScale, Importance, Taylor
from edgekd.pruning.group import Group
from edgekd.pruning.plan import Scope, fewest_widths, plan_widths
from edgekd.pruning.prune import check_prunable, prune, prune_to_macs
from edgekd.pruning.scores import accumulate_gradients
from edgekd.zoo import ModelSpec, build, check_name, count_macs, count_params, example_images, widths, with_widths
from tests import odd, tiny
from tests.tiny import tiny_convnet

SPEC = ModelSpec(name="resnet8", num_classes=5, in_channels=1, image_size=8)
TINY = tiny.SPEC
POLICY: dict[str, Any] = {"scope": "layer", "max_ratio": 0.8, "isa": "x86-avx2"}


def group(scores: list[float], kind: str = "conv", kept: str = "") -> Group:
    return Group(("layer",), len(scores), torch.tensor(scores), kind, kept)


def test_every_layer_loses_the_same_share_rounded_to_the_kernels_step() -> None:
    groups = [group([1.0] * 64), group([1.0] * 24), group([1.0] * 16), group([1.0] * 6)]

    assert plan_widths(groups, 0.5, "layer", 0.9, "x86-avx2") == [32, 16, 8, 6]


def test_global_ranking_takes_from_the_layer_whose_channels_matter_less() -> None:
    strong, weak = group([2.0] * 32), group([0.1 * i / 32 for i in range(32)])

    assert plan_widths([strong, weak], 0.25, "global", 0.9, "x86-avx2") == [32, 16]


def test_groups_of_other_structure_are_ranked_apart() -> None:
    strong, weak = group([2.0] * 16 + [1.0] * 16, "a"), group([0.2] * 16 + [0.1] * 16, "b")

    assert plan_widths([strong, weak], 0.5, "global", 0.9, "x86-avx2") == [16, 16]


@given(
    channels=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    ratio=st.floats(0, 1),
    max_ratio=st.floats(0, 1),
    scope=st.sampled_from(["layer", "global"]),
    isa=st.sampled_from(["x86-avx2", "x86-vnni", "arm64"]),
)
def test_a_planned_width_is_never_zero_nor_wider_and_suits_the_kernels(
    channels: list[int], ratio: float, max_ratio: float, scope: Scope, isa: Isa
) -> None:
    groups = [group([float(i) for i in range(count)]) for count in channels]

    plan = plan_widths(groups, ratio, scope, max_ratio, isa)

    for before, after in zip(channels, plan, strict=True):
        step = 8 if isa == "arm64" or before < 32 else 16
        assert 1 <= after <= before
        assert after == before or after % step == 0


@given(
    scores=st.lists(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=70), min_size=1, max_size=3),
    ratio=st.floats(0, 1),
)
def test_no_scores_leave_fewer_channels_than_the_fewest(scores: list[list[float]], ratio: float) -> None:
    groups = [group(each) for each in scores]

    fewest = fewest_widths(groups, ratio, "global", 0.8, "x86-avx2")

    planned = plan_widths(groups, ratio, "global", 0.8, "x86-avx2")
    assert all(least <= kept for least, kept in zip(fewest, planned, strict=True))


def test_global_ranking_counts_ties_and_ends_as_by_hand() -> None:
    """Of 64 channels half go: all of the first group but its 8 strongest, and 8 of the second."""
    first = group([0.1] * 24 + [3.0] * 8)
    second = group([0.2] * 8 + [2.0] * 24)

    assert plan_widths([first, second], 0.5, "global", 1.0, "arm64") == [8, 24]
    assert plan_widths([first, second], 0.0, "global", 1.0, "arm64") == [32, 32]
    assert plan_widths([first, second], 1.0, "global", 1.0, "arm64") == [8, 8]


def test_no_layer_loses_more_than_the_largest_share_and_kept_groups_nothing() -> None:
    groups = [group([1.0] * 128), group([1.0] * 128, kept="kept: a grouped convolution")]

    assert plan_widths(groups, 0.9, "layer", 0.5, "x86-avx2") == [64, 128]


@pytest.mark.parametrize("importance", [L2(), Taylor(), BatchNormScale()], ids=lambda importance: importance.name)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_pruned_network_is_smaller_runs_and_leaves_the_original_alone(importance: Importance, scope: Scope) -> None:
    torch.manual_seed(0)
    model = build(SPEC).eval()
    accumulate_gradients(model, [(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))])
    before = {name: value.clone() for name, value in model.state_dict().items()}

    pruned = prune(model, SPEC, 0.5, importance=importance, **{**POLICY, "scope": scope})

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pruned.macs == (count_macs(model, SPEC), count_macs(pruned.model, SPEC))
    assert pruned.params == (count_params(model), count_params(pruned.model))
    assert pruned.macs[1] < 0.5 * pruned.macs[0]
    assert all(width.after % 8 == 0 and 0 < width.after <= width.before for width in pruned.widths)
    modules = dict(pruned.model.named_modules())
    assert all(getattr(modules[width.layer], "out_channels", None) == width.after for width in pruned.widths)


@pytest.mark.parametrize("importance", [L2(), Taylor(), BatchNormScale()], ids=lambda importance: importance.name)
def test_the_channels_that_matter_most_survive_with_their_weights(importance: Importance) -> None:
    """By all three measures the importance of a channel grows with its number in ``rank``."""
    model = tiny_convnet()
    rank = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    scale, weights = 1.0 + rank, model.state_dict()
    weights["0.weight"].copy_(scale.reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3))
    weights["1.weight"].copy_(scale)
    weights["3.weight"].copy_(scale.reshape(1, -1, 1, 1).expand(8, -1, 3, 3))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    found = prune(model, TINY, 0.5, importance=importance, **POLICY).model.state_dict()

    strongest = rank >= 16
    assert torch.equal(found["0.weight"], weights["0.weight"][strongest])
    assert torch.equal(found["1.weight"], weights["1.weight"][strongest])
    assert torch.equal(found["3.weight"], weights["3.weight"][:, strongest])


def test_channels_that_are_all_zero_go_without_a_change_of_any_answer() -> None:
    model = tiny_convnet()
    model.state_dict()["0.weight"][::2] = 0.0
    model.state_dict()["3.weight"][:, ::2] = 0.0
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    found = prune(model, TINY, 0.5, importance=L2(), **POLICY).model

    assert widths(found)["0"]["out_channels"] == 16
    with torch.no_grad():
        torch.testing.assert_close(found(images), model(images))


def test_grouped_convolutions_keep_their_channels_and_the_report_says_why() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 3),
    )

    pruned = prune(model, TINY, 0.5, importance=L2(), **POLICY)

    grouped = next(width for width in pruned.widths if width.layer == "2")
    assert (grouped.before, grouped.after, grouped.note) == (32, 32, "kept: a grouped convolution")
    assert next(width.after for width in pruned.widths if width.layer == "4") == 32


def test_gradients_and_a_frozen_network_are_left_as_they_were() -> None:
    model = tiny_convnet().requires_grad_(False)
    weight = model.get_parameter("0.weight")
    weight.grad = torch.ones(32, 1, 3, 3)

    pruned = prune(model, TINY, 0.5, importance=L2(), **POLICY)

    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(weight.grad, torch.ones(32, 1, 3, 3))
    assert all(parameter.grad is None for parameter in pruned.model.parameters())


def test_gradients_are_summed_over_the_batches() -> None:
    linear = nn.Linear(2, 2)
    images, labels = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1, 0])

    accumulate_gradients(linear, [(images[:4], labels[:4]), (images[4:], labels[4:])])

    wrong = torch.softmax(images @ linear.weight.T + linear.bias, 1).detach() - nn.functional.one_hot(labels, 2)
    by_hand = wrong[:4].T @ images[:4] / 4 + wrong[4:].T @ images[4:] / 2
    torch.testing.assert_close(linear.weight.grad, by_hand)


def test_the_widths_that_pruning_left_rebuild_the_network() -> None:
    spec = ModelSpec(name="mobilenet_v3_small", num_classes=5, in_channels=1, image_size=16)
    pruned = prune(build(spec).eval(), spec, 0.5, importance=L2(), **POLICY).model

    rebuilt = with_widths(build(spec), widths(pruned)).eval()
    rebuilt.load_state_dict(pruned.state_dict())

    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert widths(rebuilt) == widths(pruned)
    with torch.no_grad():
        assert torch.equal(rebuilt(images), pruned(images))


def test_a_target_of_macs_is_reached_from_below_by_the_widest_network_that_does() -> None:
    """One prunable layer of 64 channels: 64, 48, 32 or 16 of them stay, and the MACs with them."""
    model = tiny_convnet(64)

    whole, *found = (prune_to_macs(model, TINY, share, importance=L2(), **POLICY).macs for share in (0.99, 0.76, 0.6))

    classifier = 8 * 3
    assert whole[0] - classifier == 64 * (9 * 1 * 64 + 9 * 64 * 8)
    assert [macs[1] for macs in (whole, *found)] == [classifier + 64 * width * (9 + 72) for width in (48, 48, 32)]


def test_a_target_of_macs_that_no_width_reaches_is_an_error_with_a_remedy() -> None:
    with pytest.raises(PruningError, match=r"0.001 .* 0.501 is the least .*; raise macs_ratio or max_pruning"):
        prune_to_macs(tiny_convnet(), TINY, 0.001, importance=L2(), **POLICY)


def test_nothing_removed_is_an_error_that_names_the_widest_layer() -> None:
    with pytest.raises(PruningError, match=r"nothing is removed at 0\.01: the widest prunable layer has 64 channels"):
        prune(build(SPEC).eval(), SPEC, 0.01, importance=L2(), **POLICY)


ODD = {
    "chunk": (odd.halves(lambda maps: maps.chunk(2, 1)), {"stem": "Split"}),
    "split": (odd.halves(lambda maps: maps.split(32, 1)), {"stem": "Split"}),  # type: ignore[no-untyped-call]
    "slices": (odd.halves(lambda maps: (maps[:, :32], maps[:, 32:])), {"stem": "Slice"}),
    "group norm": (odd.shared_group_norm(), {"first": "a GroupNorm shares", "second": "a GroupNorm shares"}),
    "channel shuffle": (odd.channel_shuffle(), {"stem": "ChannelShuffle"}),
    "mean over channels": (odd.attended(), {"stem": "more depends on these channels"}),
    "tied": (odd.tied(), dict.fromkeys(("first", "one", "other"), "weights that two layers have in common")),
}


@pytest.mark.parametrize("name", ODD)
def test_layers_around_what_cannot_be_followed_are_kept_and_the_rest_is_pruned(name: str) -> None:
    model, expected = ODD[name]

    pruned = prune(model.eval(), TINY, 0.5, importance=L2(), **POLICY)

    kept = {width.layer: width.note for width in pruned.widths if width.after == width.before}
    assert kept.keys() == expected.keys()
    assert all(expected[layer] in note for layer, note in kept.items())
    assert all(width.after < width.before for width in pruned.widths if width.layer not in kept)
    assert pruned.macs[1] < 0.7 * pruned.macs[0]


def test_no_channel_is_pruned_along_a_wrong_path() -> None:
    """A pixel shuffle makes one channel of four, which the graph does not know of: the numbers behind it are wrong."""
    model = odd.pixel_shuffle(TINY.num_classes, 1, 8).eval()
    torch.nn.init.zeros_(model.get_parameter("wide.weight")[::2])

    widths = {width.layer: width for width in prune(model, TINY, 0.5, importance=L2(), **POLICY).widths}

    assert {name for name, width in widths.items() if width.after == width.before} == {"wide", "mixed"}
    assert "PixelShuffle" in widths["wide"].note
    assert widths["first_up.0"].after == widths["first_up.0"].before // 2


@pytest.mark.parametrize(
    ("name", "inner", "sharing"),
    [
        ("transformer", {64 // 2}, "a LayerNorm and a MultiheadAttention"),
        ("convnext", {64 // 2, 128 // 2}, "LayerNorm"),
    ],
)
def test_of_perceptrons_between_layer_norms_the_inner_widths_go(name: str, inner: set[int], sharing: str) -> None:
    spec = ModelSpec(name=f"tests.odd:{name}", num_classes=5, in_channels=3, image_size=16)
    check_name(spec.name)

    pruned = prune(build(spec).eval(), spec, 0.5, importance=L2(), **POLICY)

    assert {width.after for width in pruned.widths if width.after < width.before} == inner
    assert all(sharing in width.note for width in pruned.widths if width.after == width.before)
    rebuilt = with_widths(build(spec), widths(pruned.model)).eval()
    rebuilt.load_state_dict(pruned.model.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(example_images(spec)), pruned.model(example_images(spec)))


def test_a_network_of_which_nothing_can_be_pruned_is_refused_in_one_line_with_the_reason() -> None:
    with pytest.raises(PruningError, match=r"no layer can lose channels \(kept: .*GroupNorm") as caught:
        prune(odd.all_group_norms(), TINY, 0.5, importance=L2(), **POLICY)

    assert "\n" not in str(caught.value)


def test_a_network_that_takes_one_image_alone_is_refused_in_one_line() -> None:
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 3), nn.Unflatten(0, (1, 1)), nn.Flatten())
    model.append(nn.Linear(4 * 16, 3))

    with pytest.raises(PruningError, match="does not run on 4 images at once") as caught:
        prune(model.eval(), TINY, 0.5, importance=L2(), **POLICY)

    assert "\n" not in str(caught.value)


def test_a_check_before_training_leaves_the_network_as_it_is() -> None:
    model = build(SPEC)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    check_prunable(model, SPEC, 0.5, None, importance=Taylor(), **POLICY)

    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_share_of_macs_that_no_weights_reach_is_refused_with_the_least_that_some_do() -> None:
    with pytest.raises(PruningError, match=r"macs_ratio: 0\.2 .* 0\.204 is the least at max_pruning_ratio 0\.8"):
        check_prunable(build(SPEC), SPEC, None, 0.2, importance=L2(), **POLICY)

    check_prunable(build(SPEC), SPEC, None, 0.204, importance=L2(), **POLICY)


@pytest.mark.parametrize(("scope", "least"), [("layer", 0.13), ("global", 0.05)])
def test_a_ratio_that_removes_nothing_is_refused_with_the_least_that_removes_some(scope: Scope, least: float) -> None:
    """Ranked together, all that goes may go from the one group where it makes a whole step."""
    policy = {**POLICY, "scope": scope}

    with pytest.raises(PruningError, match=rf"nothing is removed at 0\.04: .* {least} is the least that removes any"):
        check_prunable(build(SPEC), SPEC, 0.04, None, importance=L2(), **policy)

    check_prunable(build(SPEC), SPEC, least, None, importance=L2(), **policy)


def test_no_ratio_removes_anything_where_no_layer_may_lose_a_whole_step() -> None:
    with pytest.raises(PruningError, match=r"too few for any ratio; raise max_pruning_ratio or take a wider network"):
        check_prunable(build(SPEC), SPEC, 0.5, None, importance=L2(), **{**POLICY, "max_ratio": 0.1})


def test_the_check_gives_the_widths_that_pruning_leaves_where_no_weight_decides_them() -> None:
    trained = build(SPEC).eval()

    found = check_prunable(build(SPEC), SPEC, 0.5, None, importance=BatchNormScale(), **POLICY)

    assert widths(found) == widths(prune(trained, SPEC, 0.5, importance=BatchNormScale(), **POLICY).model)
    ranked = check_prunable(trained, SPEC, 0.5, None, importance=BatchNormScale(), **{**POLICY, "scope": "global"})
    assert ranked is trained


def test_the_result_answers_for_any_batch() -> None:
    pruned = prune(build(SPEC).eval(), SPEC, 0.5, importance=L2(), **POLICY)

    with torch.no_grad():
        assert pruned.model(example_images(SPEC, 3)).shape == (3, 5)


@pytest.mark.parametrize(
    ("channels", "max_ratio", "expected"), [(64, 0.4, 48), (64, 0.5, 32), (128, 0.8, 32), (24, 0.9, 8)]
)
def test_rounding_never_takes_more_than_the_largest_share(channels: int, max_ratio: float, expected: int) -> None:
    group = Group(("layer",), channels, torch.ones(channels), "conv")

    assert plan_widths([group], 0.95, "layer", max_ratio, "x86-avx2") == [expected]


def test_a_pruned_copy_has_no_gradients_and_learns() -> None:
    model = build(SPEC)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    smaller = prune(model, SPEC, 0.5, importance=L2(), **POLICY).model

    assert all(parameter.grad is None and parameter.requires_grad for parameter in smaller.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_channels_are_not_kept_because_memory_is_short(error: Exception) -> None:
    class Short(nn.Module):
        """Fails once it has been made narrower, as on a machine whose memory is used by then."""

        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_convnet()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if any(layer.out_channels < 6 for layer in self.net.modules() if isinstance(layer, nn.Conv2d)):
                raise error
            answer: torch.Tensor = self.net(images)
            return answer

    with pytest.raises(MemoryError):
        prune(Short(), TINY, 0.5, importance=L2(), **POLICY)
