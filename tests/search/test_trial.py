"""One trial: when it is not carried out, or not to its end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekd.config import read_yaml
from edgekd.config.progress import Progress
from edgekd.pipeline import Pipeline
from edgekd.pipeline.search.contending import Reference
from edgekd.pipeline.search.measuring import Measurer
from edgekd.pipeline.search.trial import WORST, Bench, Images, try_out
from edgekd.store.artifacts import Store
from tests.chain import write_pipeline
from tests.search.chain import SEARCHED


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    tree = read_yaml(write_pipeline(tmp_path, SEARCHED))
    pipeline = Pipeline.from_tree(tree, "FILE")
    measurer = Measurer(Store(tmp_path / "models"), pipeline.target, 0, Progress())
    return Bench(tree, "FILE", pipeline.budget, tmp_path / "models", Images(Progress()), measurer, Progress())


def made_up_teacher(bench: Bench) -> Reference:
    """A teacher that is always right; of no file."""
    labels = bench.images.of(bench.pipeline({}).data).val.labels
    return Reference(None, torch.ones(len(labels), dtype=torch.bool), labels, 1.0)  # type: ignore[arg-type]


def test_values_that_the_file_refuses_are_a_trial_that_could_not_be_run(bench: Bench) -> None:
    found = try_out(bench, made_up_teacher(bench), 7, {"prune.pruning_ratio": 0.9}, waits=True)

    assert (found.number, found.outcome, found.contender) == (7, "could not be run", None)
    assert "no layer may lose more than max_pruning_ratio" in found.detail
    assert found.excess == WORST


def test_data_that_show_other_pictures_on_val_could_not_be_compared(bench: Bench) -> None:
    reference = made_up_teacher(bench)
    other = replace(reference, labels=reference.labels.flip(0))

    assert "val has other images than in the file itself" in try_out(bench, other, 0, {}, waits=True).detail


def test_a_student_far_below_what_the_budget_allows_goes_no_further(bench: Bench) -> None:
    strict = replace(bench, budget=bench.budget.model_copy(update={"accuracy_drop": 0.01}))

    found = try_out(strict, made_up_teacher(bench), 0, {}, waits=True)

    assert found.outcome == "stopped early"
    assert "the teacher 100.0 %; 1 points fewer are allowed" in found.detail
    assert found.excess > 1
    # Nothing was calibrated or exported.
    assert len(found.digests) == 3
