"""Widths for a latency or a size: what is removed, and what is refused before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.errors import ConfigError, EdgekdError, PruningError
from edgekd.pipeline import Pipeline
from edgekd.pruning.cost_model import LayerCosts, Layers, fitted
from edgekd.pruning.criteria import L2
from edgekd.pruning.greedy import cheapest_path
from edgekd.pruning.group import Group
from edgekd.pruning.structure import Structure, structure_of
from edgekd.stages import Prune
from edgekd.stages.budget_plan import Limit, _measured, _nearest, check_reachable, layers_of, widths_within
from edgekd.stages.costs import files_of
from edgekd.zoo import ModelSpec, build
from tests.chain import write_pipeline
from tests.test_training import Told

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=16)
TARGET = Target(isa="host")
TWO = Layers(
    inputs=np.array([1.0, 32.0]),
    outputs=np.array([32.0, 64.0]),
    of_inputs=np.array([[0.0, 0.0], [1.0, 0.0]]),
    of_outputs=np.array([[1.0, 0.0], [0.0, 1.0]]),
    whole=np.array([32, 64]),
    work=np.array([32.0, 2048.0]),
    places=np.array([4.0, 1.0]),
)
"""A layer of 32 channels that feeds one of 64; each is a group of its own."""


def network() -> tuple[nn.Module, Structure]:
    torch.manual_seed(0)
    model = build(SPEC).eval()
    return model, structure_of(model, SPEC, L2())


def group(channels: int, scores: list[float] | None = None, layers: int = 1, kept: str = "") -> Group:
    found = torch.ones(channels) if scores is None else torch.tensor(scores)
    return Group(tuple(f"layer{number}" for number in range(layers)), channels, found, "alike", kept)


def test_the_work_of_a_layer_follows_what_it_reads_and_what_it_gives() -> None:
    assert TWO.shares([16, 64]).tolist() == [0.5, 0.5]
    assert TWO.shares([16, 16]).tolist() == [0.5, 0.125]
    assert TWO.numbers([16, 64]) == (16 * 4 + 64) / (32 * 4 + 64)


def test_costs_are_found_again_from_what_plans_cost() -> None:
    true = LayerCosts(TWO, np.array([0.2, 5.0]), 2.0, 1.0)
    plans = [[first, second] for first in (8, 16, 24, 32) for second in (16, 32, 48, 64)]

    found = fitted(TWO, plans, [true(plan) for plan in plans])

    assert [found(plan) for plan in ([12, 40], [28, 20])] == pytest.approx(
        [true(plan) for plan in ([12, 40], [28, 20])], rel=0.02
    )


def test_what_saves_most_for_the_same_importance_goes_first_and_never_more_than_is_allowed() -> None:
    path = cheapest_path([group(32), group(64)], lambda keep: keep[0] + 10 * keep[1], 0.5, "x86-avx2")

    assert path == [[32, 64], [32, 48], [32, 32], [16, 32]]


def test_channels_that_matter_less_go_first_and_streams_of_many_layers_last() -> None:
    weak, strong = group(32, [0.1] * 16 + [1.9] * 16), group(32)
    even = lambda keep: float(sum(keep))  # noqa: E731

    assert cheapest_path([strong, weak], even, 0.5, "x86-avx2")[1] == [32, 16]
    assert cheapest_path([group(32, layers=4), strong], even, 0.5, "x86-avx2")[1] == [32, 16]
    assert cheapest_path([group(32, kept="kept: odd")], even, 0.5, "x86-avx2") == [[32]]


def test_a_file_of_the_wanted_size_is_found() -> None:
    model, structure = network()

    found = widths_within(model, SPEC, structure.groups, Limit("size_kb", 40), 0.8, TARGET, Progress())

    assert 34 < found.cost <= 40
    assert len(found.keep) == len(structure.groups)


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (Limit("size_kb", 1), r"size_kb: 1 cannot be reached: \S+ is the least at max_pruning_ratio 0.8"),
        (Limit("latency_ms", 1e-4), r"latency_ms: 0.0001 cannot be reached: .* \(this CPU\); raise the limit or"),
        (Limit("size_kb", 1000), r"size_kb: nothing is to be removed: the whole network has \S+ as integers"),
    ],
)
def test_what_cannot_be_reached_is_told_with_the_nearest(limit: Limit, told: str) -> None:
    model, structure = network()

    with pytest.raises(PruningError, match=told):
        check_reachable(model, SPEC, structure.groups, limit, 0.8, TARGET)


@dataclass
class Clock:
    """Knows what plans cost, as a machine does."""

    true: LayerCosts

    def of(self, plans: Sequence[Sequence[int]], seed: int = 0) -> list[float]:
        return [self.true(plan) for plan in plans]


def test_what_layers_cost_is_learned_from_plans_and_holds_for_others() -> None:
    model, structure = network()

    with files_of(model, SPEC, structure.groups, TARGET) as files:
        layers = layers_of(files)
        speeds = np.linspace(0.5, 1.5, len(layers.work)) / layers.work.sum()
        true = LayerCosts(layers, speeds * layers.work, 0.2, 0.3)
        found = _measured(files, Clock(true), 0.8, TARGET, Progress())

    narrow = [max(8, group.channels // 3) for group in structure.groups]
    assert found(narrow) == pytest.approx(true(narrow), rel=0.02)


def test_predictions_are_corrected_by_what_is_measured() -> None:
    path = [[width] for width in range(100, 10, -1)]

    found = _nearest(path, lambda keep: float(keep[0]), lambda keep: 1.3 * keep[0], 60.0, Progress())

    assert found.keep == [45]
    assert found.cost == pytest.approx(58.5)


def test_a_pipeline_is_pruned_to_a_size_and_says_so(tmp_path: Path) -> None:
    text = """
        name: budget
        data: {name: digits, image_size: 16}
        stages:
          - {stage: teacher, model: resnet8, epochs: 1, batch_size: 512}
          - {stage: prune, size_kb: 50}
    """
    pipeline, told = Pipeline.from_yaml(write_pipeline(tmp_path, text)), Told()

    pipeline.run(tmp_path / "models", tmp_path / "exports", progress=told)

    assert [note for note in told.notes if note.startswith("prune: size_kb 4") and note.endswith(", wanted 50")]
    assert all(item.artifact is not None for item in pipeline.plan(tmp_path / "models"))


def test_what_was_measured_on_one_cpu_is_measured_again_on_another() -> None:
    assert "cpu" in Prune(latency_ms=0.2).deciding_settings()["measured on"]
    assert "measured on" not in Prune(size_kb=20).deciding_settings()


def test_another_cpu_s_latency_is_not_guessed(tmp_path: Path) -> None:
    text = """
        name: budget
        data: {name: digits, image_size: 16}
        target: {isa: arm64}
        stages:
          - {stage: teacher, model: resnet8, epochs: 500}
          - {stage: prune, latency_ms: 0.2}
    """

    with pytest.raises(EdgekdError, match=r"stages\[1\].*target.isa is arm64; run it there, or give pruning_ratio"):
        Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")


def test_one_measure_is_given(tmp_path: Path) -> None:
    text = """
        name: budget
        data: {name: digits, image_size: 16}
        stages:
          - {stage: teacher, model: resnet8, epochs: 500}
          - {stage: prune, latency_ms: 0.2, size_kb: 30}
    """

    with pytest.raises(ConfigError, match=r"stages\[1\].*give one of pruning_ratio, .*found latency_ms and size_kb"):
        Pipeline.from_yaml(write_pipeline(tmp_path, text))
