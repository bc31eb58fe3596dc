"""What an ablation would run: every arm with every seed, over one set of images, each artifact once."""

from pathlib import Path

import pytest

from edgekd.errors import ConfigError
from edgekd.pipeline.ablation.plan import Plan, steps_of
from edgekd.pipeline.ablation.time_left import ToDo, Took, seconds_left
from tests.ablation.made_up import FLOAT, WHOLE, plan_of, run_of


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("plan"), WHOLE, ["seed=5"], seeds=2)


def test_runs_go_seed_by_seed_the_file_s_own_first(plan: Plan) -> None:
    arms = ["base", "labels", "scratch", "early-stop", "by-width", "qat-labels", "ptq"]

    assert [(run.seed, run.arm) for run in plan.runs] == [(seed, arm) for seed in (5, 6) for arm in arms]
    assert [run.pipeline.seed for run in plan.runs] == [5] * 7 + [6] * 7
    assert plan.seeds == [5, 6]


def test_arms_of_one_seed_share_what_they_have_in_common_and_seeds_share_nothing(plan: Plan) -> None:
    base, ptq, labels, other = (run_of(plan, *key) for key in (("base", 5), ("ptq", 5), ("labels", 5), ("base", 6)))

    assert base.digests[:3] == ptq.digests[:3]
    assert base.digests[:2] == labels.digests[:2]
    assert not set(base.digests[2:]) & set(labels.digests[2:])
    assert not set(base.artifacts) & set(other.artifacts)
    assert len(base.artifacts) == len(base.digests) + 1


def test_the_file_s_run_exports_every_file_of_its_chain_the_others_what_is_compared(plan: Plan) -> None:
    models = {run.arm: getattr(run.pipeline.stages[-1], "models") for run in plan.runs}  # noqa: B009

    assert models["base"] == ["teacher", "prune", "distill", "qat"]
    assert all(found == ["teacher", "qat"] for arm, found in models.items() if arm != "base")


def test_an_arm_that_makes_the_same_file_as_another_is_run_once(tmp_path: Path) -> None:
    alone = WHOLE.replace("- {stage: distill, epochs: 1, batch_size: 512}", "").replace(
        "- {stage: prune, pruning_ratio: 0.5}", ""
    )

    plan = plan_of(tmp_path, alone, seeds=1)

    assert [run.arm for run in plan.runs] == ["base", "labels", "ptq"]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("distill.temperature=4", "--arm 'distill.temperature=4': makes the same file as base; leave it out"),
        ("distill.beta=0", "--arm 'distill.beta=0': makes the same file as labels; leave it out"),
    ],
)
def test_an_arm_of_one_s_own_that_changes_nothing_is_refused(tmp_path: Path, own: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_of(tmp_path, own=[own])

    assert str(error.value) == told


def test_another_target_is_another_arm_though_the_model_is_the_same(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, arms=(), own=["target.threads=2"], seeds=1)

    base, threads = plan.runs
    assert base.digests[:3] == threads.digests[:3]
    assert base.artifacts[-1] != threads.artifacts[-1]


def test_an_arm_that_sees_other_images_cannot_be_run_and_one_that_augments_otherwise_can(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, arms=(), own=["data.image_size=16", "data.augment=none"], seeds=1)

    assert [run.arm for run in plan.runs] == ["base", "data.augment=none"]
    assert plan.arms[0].error == "it sees other images than the file, with which it cannot be compared"
    assert run_of(plan, "data.augment=none", 0).data.augment is not plan.runs[0].data.augment


def test_steps_are_counted_of_the_student_alone(plan: Plan) -> None:
    """Two steps of 512 images an epoch: one epoch of distill, two of qat; the teacher's are not counted."""
    data = plan.runs[0].data
    arms = {arm.name: arm.chain for arm in plan.arms}

    assert len(data.train) // 512 == 2
    assert steps_of(plan.base, data) == 6
    assert {name: steps_of(chain, data) for name, chain in arms.items() if chain} == {
        "labels": 6,
        "scratch": 6,
        "early-stop": 6,
        "by-width": 6,
        "qat-labels": 6,
        "ptq": 2,
    }


def test_what_is_wrong_in_the_file_is_told_as_for_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"small.yaml: stages\[2\].epochs: .*greater than or equal to 1"):
        plan_of(tmp_path, FLOAT, ["stages.distill.epochs=0"])
    with pytest.raises(ConfigError, match="no stage 'nobody' leaves a model"):
        plan_of(tmp_path, FLOAT, compared="nobody")


def test_time_left_is_that_of_the_same_arm_else_of_the_others_and_each_artifact_counts_once() -> None:
    took = [Took("base", "qat", 10.0), Took("labels", "qat", 20.0), Took("labels", "qat", 30.0)]

    assert seconds_left([ToDo("labels", "qat", "a")], took) == 25.0
    assert seconds_left([ToDo("scratch", "qat", "b"), ToDo("base", "qat", "c")], took) == 30.0
    assert seconds_left([ToDo("base", "qat", "c"), ToDo("base", "qat", "c")], took) == 10.0
    assert seconds_left([], took) == 0.0
    assert seconds_left([ToDo("base", "qat", "a"), ToDo("base", "teacher", "b")], took) is None
