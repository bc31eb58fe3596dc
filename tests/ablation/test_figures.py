"""From answers and latencies to what each stage and each choice paid."""

import math
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import EdgekdError, ExportError, TrainingError
from edgekd.ondevice.latency import REPEATABILITY
from edgekd.pipeline.ablation.figures import ablation
from edgekd.pipeline.ablation.plan import Plan
from edgekd.pipeline.pipeline import Outcome
from edgekd.report.ablation.schema import Ablation, Change
from edgekd.training.over_seeds import accuracy_difference
from tests.ablation.made_up import WHOLE, ended, file_of, outcome, plan_of, run_of, without_first

WRONG = {"teacher": 30, "prune": 100, "distill": 20}
MILLISECONDS = {"teacher": 1.0, "prune": 0.5, "distill": 0.4}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("plan"), arms=("labels", "by-width"), seeds=2)


@pytest.fixture(scope="module")
def found(plan: Plan) -> Ablation:
    """Two seeds of the file and of labels; by-width fails."""
    outcomes: dict[tuple[str, int], Outcome | EdgekdError] = {}
    for seed in (0, 1):
        base, labels = run_of(plan, "base", seed), run_of(plan, "labels", seed)
        sizes = {"prune": 500, "distill": 500 + seed}
        outcomes["base", seed] = outcome(base, WRONG, MILLISECONDS, **sizes)
        wrong, ms = {"teacher": 30, "distill": 29 + 10 * seed}, {"teacher": 2.0, "distill": 1.0}
        outcomes["labels", seed] = outcome(labels, wrong, ms, distill=500)
        outcomes["by-width", seed] = TrainingError("stages[1] (distill)", "the loss is nan", "lower lr")
    return ablation(plan, ended(plan, outcomes))


def change(found: Ablation, arm: str) -> Change:
    (paid,) = (each.change for each in found.arms if each.name == arm)
    assert paid is not None
    return paid


def test_each_stage_is_held_against_the_one_before_it(found: Ablation, plan: Plan) -> None:
    prune, distill = found.stages
    labels = plan.runs[0].data.test.labels

    assert [(stage.id, stage.stage, stage.before) for stage in found.stages] == [
        ("prune", "prune", "teacher"),
        ("distill", "distill", "prune"),
    ]
    assert prune.change.test.difference == pytest.approx(-70 / 360)
    assert distill.change.test.difference == pytest.approx(80 / 360)
    stacks = [np.stack([without_first(labels, count)] * 2) for count in (100, 20)]
    assert (distill.change.test.difference, distill.change.test.ci95) == accuracy_difference(*stacks)
    assert prune.change.latency_ratio.ratio == pytest.approx(0.5)
    assert distill.change.latency_ratio.ratio == pytest.approx(0.8)
    assert prune.change.size_ratio.ratio == pytest.approx(0.5)


def test_an_arm_is_held_against_the_file_seed_by_seed(found: Ablation, plan: Plan) -> None:
    labels = change(found, "labels")
    images = plan.runs[0].data.test.labels

    base = np.stack([without_first(images, 20)] * 2)
    arm = np.stack([without_first(images, 29), without_first(images, 39)])
    assert labels.test.difference == pytest.approx(-14 / 360)
    assert (labels.test.difference, labels.test.ci95) == accuracy_difference(base, arm)
    assert labels.val.difference == pytest.approx(-14 / len(plan.runs[0].data.val))
    assert labels.seeds == [0, 1]
    assert labels.size_ratio.ratio == pytest.approx(math.sqrt(500 / 501))
    assert labels.size_ratio.ci95[0] < labels.size_ratio.ratio < labels.size_ratio.ci95[1]


def test_latencies_of_two_runs_are_compared_by_their_ratios_to_their_own_teachers(found: Ablation) -> None:
    """0.5 of a teacher that the machine ran slowly, against 0.4; the errors of four measurements are in it."""
    ratio = change(found, "labels").latency_ratio

    assert ratio.ratio == pytest.approx(1.25)
    assert math.log(ratio.ci95[1] / ratio.ratio) == pytest.approx(REPEATABILITY * math.sqrt(2) / math.sqrt(2))


def test_an_arm_that_cannot_be_run_says_why_and_an_other_one_s_settings_stand_beside_the_file_s(
    found: Ablation,
) -> None:
    labels, by_width = found.arms

    assert by_width.change is None
    assert by_width.error == "stages[1] (distill): the loss is nan; lower lr"
    assert labels.error == ""
    assert labels.settings == ["distill.beta: 0.0 (file: 0.9)"]
    assert by_width.settings[:2] == ["no prune", "distill.model: tests.tiny:own_network"]
    assert found.runs_left == 0


def test_every_run_is_told_with_its_own_figures(found: Ablation) -> None:
    figures = [(run.seed, run.arm, run.correct, run.total, run.size_bytes) for run in found.runs]

    assert figures == [
        (0, "base", 340, 360, 500),
        (0, "labels", 331, 360, 500),
        (1, "base", 340, 360, 501),
        (1, "labels", 321, 360, 500),
    ]
    assert found.runs[1].latency_ratio.ratio == pytest.approx(0.5)
    assert found.runs[1].latency_p50_ms == pytest.approx(1.0)
    assert found.steps == found.arms[0].steps == 2


def test_of_one_seed_and_half_the_arms_what_is_there_is_told(plan: Plan) -> None:
    base = outcome(run_of(plan, "base", 0), WRONG, MILLISECONDS)
    failed = TrainingError("stages[2] (distill)", "the loss is nan", "lower lr")
    outcomes: dict[tuple[str, int], Outcome | EdgekdError]
    outcomes = {("base", 0): base, ("base", 1): base, ("labels", 0): base, ("labels", 1): failed}

    first, both = ablation(plan, ended(plan, {("base", 0): base})), ablation(plan, ended(plan, outcomes))

    assert [arm.change for arm in first.arms] == [None, None]
    assert [arm.error for arm in first.arms] == ["", ""]
    assert first.runs_left == 5
    assert change(both, "labels").seeds == [0]
    assert both.arms[0].error == "with seed 1: stages[2] (distill): the loss is nan; lower lr"


def test_of_a_quantized_stage_the_file_that_it_kept_is_compared(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, WHOLE, arms=(), seeds=1)
    found = outcome(plan.runs[0], {**WRONG, "qat": 25}, {**MILLISECONDS, "qat": 0.3})
    measured, last = found.measured, found.measured.files[-1]
    measured.files[-1:] = [file_of("qat.ptq", "qat", 400, "ptq")]
    for suffix in ("", "/val"):
        measured.chosen[f"qat.ptq{suffix}"] = measured.chosen.pop(f"{last.id}{suffix}")

    figures = ablation(plan, ended(plan, {("base", 0): found}))

    assert [(run.file, run.kept, run.correct) for run in figures.runs] == [("qat.ptq", "ptq", 335)]
    assert figures.stages[-1].change.test.difference == pytest.approx(-5 / 360)


def test_a_stage_without_a_file_of_its_own_is_told(plan: Plan) -> None:
    base = outcome(run_of(plan, "base", 0), {"teacher": 1, "prune": 2}, MILLISECONDS)

    with pytest.raises(ExportError, match="distill: its file is the same as another stage's"):
        ablation(plan, ended(plan, {("base", 0): base}))
