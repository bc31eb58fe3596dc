"""Pruning: widths by hand, what survives, what is refused."""

import pytest
import torch
from torch import nn

from edgekd.errors import PruningError
from edgekd.pruning import Group, accumulate_gradients, plan_widths, prune, prune_to_macs
from edgekd.zoo import ModelSpec, build, count_macs, count_params, example_images

SPEC = ModelSpec(name="resnet8", num_classes=5, in_channels=1, image_size=8)
POLICY = {"scope": "layer", "max_ratio": 0.8, "isa": "x86-avx2"}


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


def test_no_layer_loses_more_than_the_largest_share_and_kept_groups_nothing() -> None:
    groups = [group([1.0] * 128), group([1.0] * 128, kept="kept: a grouped convolution")]

    assert plan_widths(groups, 0.9, "layer", 0.5, "x86-avx2") == [64, 128]


@pytest.mark.parametrize("importance", ["l2", "taylor", "bn"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_pruned_network_is_smaller_runs_and_leaves_the_original_alone(importance: str, scope: str) -> None:
    torch.manual_seed(0)
    model = build(SPEC).eval()
    accumulate_gradients(model, [(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))])
    before = {name: value.clone() for name, value in model.state_dict().items()}

    pruned = prune(model, SPEC, 0.5, importance=importance, **{**POLICY, "scope": scope})  # type: ignore[arg-type]

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pruned.macs == (count_macs(model, SPEC), count_macs(pruned.model, SPEC))
    assert pruned.params == (count_params(model), count_params(pruned.model))
    assert pruned.macs[1] < 0.5 * pruned.macs[0]
    assert all(width.after % 8 == 0 and 0 < width.after <= width.before for width in pruned.widths)
    modules = dict(pruned.model.named_modules())
    assert all(getattr(modules[width.layer], "out_channels", None) == width.after for width in pruned.widths)


def test_the_channels_with_the_largest_weights_survive() -> None:
    torch.manual_seed(0)
    model = build(SPEC).eval()
    conv = model.get_submodule("layer1.0.conv1")
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight[::2] *= 100
        kept = conv.weight[::2].clone()

    pruned = prune(model, SPEC, 0.5, importance="l2", **POLICY)  # type: ignore[arg-type]

    found = pruned.model.get_submodule("layer1.0.conv1")
    assert isinstance(found, nn.Conv2d)
    survivors = {tuple(row.abs().sum((1, 2)).sort().values.round(decimals=3).tolist()[-3:]) for row in kept}
    assert found.out_channels == 8
    assert found.weight.abs().sum((1, 2, 3)).min() > 10
    assert survivors


def test_a_target_of_macs_is_reached_from_below() -> None:
    model = build(ModelSpec(**{**SPEC.model_dump(), "width_mult": 2.0})).eval()

    pruned = prune_to_macs(model, SPEC, 0.4, importance="l2", **POLICY)

    assert 0.15 < pruned.macs[1] / pruned.macs[0] <= 0.4


def test_nothing_removed_is_an_error_that_names_the_widest_layer() -> None:
    with pytest.raises(PruningError, match=r"nothing is removed at 0\.01: the widest prunable layer has 64 channels"):
        prune(build(SPEC).eval(), SPEC, 0.01, importance="l2", **POLICY)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "vit_b_16"])
def test_a_network_that_cannot_be_pruned_is_refused_in_one_line(name: str) -> None:
    spec = ModelSpec(name=name, num_classes=5, in_channels=3, image_size=224 if name == "vit_b_16" else 64)
    model = build(ModelSpec(**{**spec.model_dump(), "image_size": 224})).eval()

    with pytest.raises(PruningError) as caught:
        prune(model, spec, 0.5, importance="l2", **POLICY)  # type: ignore[arg-type]

    assert "\n" not in str(caught.value)
    assert "leave the prune stage out" in str(caught.value)


def test_the_result_answers_for_any_batch() -> None:
    pruned = prune(build(SPEC).eval(), SPEC, 0.5, importance="l2", **POLICY)  # type: ignore[arg-type]

    with torch.no_grad():
        assert pruned.model(example_images(SPEC, 3)).shape == (3, 5)
