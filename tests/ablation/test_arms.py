"""Arms: what each one changes, when it applies, and that it is a pipeline which shares what it can."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.data import Digits, load_dataset
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.ablation.arms import CHOICES, Arm, arms_of, own_arm
from edgekd.pipeline.ablation.chain import Chain, chain_of, tree_of
from edgekd.stages import Distill, Ptq, Qat

SHIPPED = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))
TEACHER = {"stage": "teacher", "model": "resnet8", "width_mult": 2}
PRUNE = {"stage": "prune", "pruning_ratio": 0.5}
DISTILL = {"stage": "distill", "epochs": 3, "temperature": 3, "stop_teacher_at": 0.7, "labels_lr": 0.2}
QAT = {"stage": "qat", "epochs": 2, "temperature": 3}


def file_of(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"name": "x", "data": {"name": "digits", "image_size": 8}, "stages": [*stages, {"stage": "export"}]}


def chain(*stages: dict[str, Any], compared: str | None = None) -> Chain:
    return chain_of(Pipeline.model_validate(file_of(*stages)), compared)


FULL = chain(TEACHER, PRUNE, DISTILL, QAT)


def arm(name: str, base: Chain = FULL) -> Arm:
    (found,) = arms_of(base, [name])
    return found


def stage(name: str, found: Arm) -> Any:
    assert found.chain is not None, found.error
    return next(stage for stage in found.chain.stages if stage.name == name)


def names(found: Chain | None) -> list[str]:
    assert found is not None
    return [stage.name for stage in found.stages]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_pipeline_s_chain_makes_the_very_same_artifacts_and_every_arm_of_it_is_valid(path: Path) -> None:
    pipeline, data = Pipeline.from_yaml(path), load_dataset(Digits(image_size=8))
    base = chain_of(pipeline, None)
    wanted = {draft.name: draft.digest for draft in pipeline.drafts(data)}

    digests = {draft.name: draft.digest for draft in base.pipeline.drafts(data)}
    arms = arms_of(base, None)

    assert digests == {name: wanted[name] for name in digests}
    assert {"teacher", "prune", "distill"} < set(digests)
    assert len(arms) >= 4
    for found in arms:
        assert found.error == ""
        assert found.chain is not None
        others = {draft.name: draft.digest for draft in found.chain.pipeline.drafts(data)}
        assert others["teacher"] == digests["teacher"]
        assert others[base.compared] != digests[base.compared]


def test_what_the_compared_file_does_not_need_is_left_out_and_the_file_s_own_export_is_found_again() -> None:
    pipeline = Pipeline.from_yaml(next(path for path in SHIPPED if path.stem == "fashion_mnist"))
    whole = Pipeline.model_validate(file_of(TEACHER, PRUNE, DISTILL, QAT))
    data = load_dataset(Digits(image_size=8))

    own, other = chain_of(pipeline, None), chain_of(pipeline, "control-qat")

    assert names(own) == ["teacher", "prune", "distill", "qat"]
    assert names(other) == ["teacher", "prune", "control", "control-qat"]
    assert [item.name for item in other.path] == ["teacher", "prune", "control", "control-qat"]
    assert FULL.exporting(0, path=True).drafts(data)[-1].digest == whole.drafts(data)[-1].digest


@pytest.mark.parametrize(
    ("stages", "compared"),
    [
        ([TEACHER, PRUNE, DISTILL, QAT], "qat"),
        ([TEACHER, PRUNE, DISTILL], "distill"),
        ([TEACHER, {"stage": "ptq", "id": "first"}, {"stage": "qat", "source": "teacher"}], "first"),
    ],
)
def test_the_first_integer_model_is_compared_or_else_the_last_float_one(
    stages: list[dict[str, Any]], compared: str
) -> None:
    assert chain(*stages).compared == compared


@pytest.mark.parametrize(
    ("stages", "compared", "told"),
    [
        ([TEACHER, QAT], "nobody", "--file: no stage 'nobody' leaves a model; stages that do: teacher, qat"),
        ([TEACHER, QAT], "export", "--file: no stage 'export' leaves a model"),
        (
            [{"stage": "distill", "model": "resnet8", "beta": 0}],
            None,
            "stages: distill is made without a teacher stage, against which",
        ),
    ],
)
def test_what_cannot_be_compared_is_told(stages: list[dict[str, Any]], compared: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        chain(*stages, compared=compared)

    assert str(error.value).startswith(told)


def test_labels_alone_teach_where_the_teacher_is_taken_away_and_what_is_not_read_then_is_gone() -> None:
    found = arm("labels")

    assert tree_of(stage("distill", found)) == {"stage": "distill", "source": "prune", "beta": 0.0, "epochs": 3}
    assert tree_of(stage("qat", found)) == {"stage": "qat", "source": "distill", "teacher": "none", "epochs": 2}


def test_qat_alone_loses_its_teacher() -> None:
    found = arm("qat-labels")

    assert stage("distill", found) == stage("distill", Arm("", "", FULL))
    assert stage("qat", found).teacher == "none"


def test_an_early_stop_is_taken_back_and_where_there_is_none_one_is_set() -> None:
    late = {**DISTILL, "stop_teacher_at": 1.0}
    del late["labels_lr"]
    base = chain(TEACHER, PRUNE, late, QAT)

    to_end, early = arm("teacher-to-end"), arm("early-stop", base)

    assert (stage("distill", to_end).stop_teacher_at, stage("qat", to_end).stop_teacher_at) == (1.0, 1.0)
    assert "labels_lr" not in tree_of(stage("distill", to_end))
    assert (stage("distill", early).stop_teacher_at, stage("qat", early).stop_teacher_at) == (0.6, 1.0)
    assert not {"early-stop"} & {each.name for each in arms_of(FULL, None)}
    assert not {"teacher-to-end"} & {each.name for each in arms_of(base, None)}


def test_from_scratch_keeps_the_widths_and_every_other_setting() -> None:
    found = arm("scratch")

    assert tree_of(stage("distill", found)) == {**tree_of(stage("distill", Arm("", "", FULL))), "fresh": True}
    assert names(found.chain) == ["teacher", "prune", "distill", "qat"]


@pytest.mark.parametrize(
    ("prunings", "width"),
    [
        ([PRUNE], 1.0),
        ([{"stage": "prune", "macs_ratio": 0.25}], 1.0),
        ([{"stage": "prune", "macs_ratio": 0.36}], 1.2),
        ([PRUNE, DISTILL, {**PRUNE, "id": "again", "pruning_ratio": 0.2}], 0.8),
    ],
    ids=["channels", "a quarter of the MACs", "MACs", "twice"],
)
def test_by_width_the_teacher_s_architecture_is_built_as_narrow_without_pruning(
    prunings: list[dict[str, Any]], width: float
) -> None:
    last = {**DISTILL, "id": "student"}

    found = arm("by-width", chain(TEACHER, *prunings, last, QAT))

    assert names(found.chain) == ["teacher", "student", "qat"]
    student = stage("student", found)
    assert (student.model, student.width_mult, student.source) == ("resnet8", pytest.approx(width), None)
    assert (student.temperature, student.stop_teacher_at, student.epochs) == (3.0, 0.7, 3)


def test_calibration_alone_takes_the_place_of_qat_with_the_same_bits() -> None:
    base = chain(TEACHER, PRUNE, DISTILL, {**QAT, "id": "w4", "weight_bits": 4, "calibration_images": 64})

    found = arm("ptq", base)

    calibrated = stage("w4", found)
    assert isinstance(calibrated, Ptq)
    assert (calibrated.weight_bits, calibrated.calibration_images, calibrated.source) == (4, 64, "distill")


def test_without_a_teacher_an_assistant_is_not_trained_for_nothing() -> None:
    base = chain(TEACHER, PRUNE, {**DISTILL, "assistants": [0.5]}, QAT)

    assert names(base) == ["teacher", "prune", "distill-assistant1", "distill", "qat"]
    assert names(arm("labels", base).chain) == ["teacher", "prune", "distill", "qat"]
    assert names(arm("qat-labels", base).chain) == names(base)


@pytest.mark.parametrize(
    ("base", "applying"),
    [
        (FULL, {"labels", "scratch", "teacher-to-end", "by-width", "qat-labels", "ptq"}),
        (chain(TEACHER, QAT), {"labels", "qat-labels", "ptq"}),
        (chain(TEACHER, PRUNE, {**DISTILL, "fresh": True}), {"labels", "teacher-to-end", "by-width"}),
        (chain(TEACHER, {"stage": "ptq"}), set()),
    ],
    ids=["whole", "qat alone", "fresh", "nothing to take back"],
)
def test_an_arm_applies_only_where_there_is_something_to_take_back(base: Chain, applying: set[str]) -> None:
    assert {found.name for found in arms_of(base, None)} == applying


def test_a_named_arm_must_exist_and_apply() -> None:
    with pytest.raises(ConfigError, match=r"--arms nothing: there is no such arm; known: labels, scratch, .*, ptq"):
        arms_of(FULL, ["nothing"])
    with pytest.raises(ConfigError, match=r"--arms early-stop: does not apply: there is no distil stage that its tea"):
        arms_of(FULL, ["early-stop"])
    assert [found.name for found in arms_of(FULL, ["ptq", "labels"])] == ["labels", "ptq"]
    assert arms_of(FULL, []) == []
    assert len({choice.name for choice in CHOICES}) == len(CHOICES)


def test_an_arm_that_makes_no_valid_pipeline_is_kept_with_the_reason() -> None:
    base = chain(TEACHER, PRUNE, {**DISTILL, "features": "channels"}, QAT)

    found = arm("by-width", base)

    assert found.chain is None
    assert "features: pairs the teacher's channels, and a fresh student has none of them" in found.error


def own(text: str, *stages: dict[str, Any]) -> Arm:
    tree = file_of(*(stages or (TEACHER, PRUNE, DISTILL, QAT)))
    return own_arm(text, tree, chain_of(Pipeline.model_validate(tree), None))


def test_an_arm_of_one_s_own_sets_what_it_says() -> None:
    found = own("distill.temperature=2 distill.loss='{name: dkd, others_weight: 4}' qat.epochs=5 data.augment=none")

    distill = stage("distill", found)
    assert isinstance(distill, Distill)
    assert (distill.temperature, distill.loss.name, distill.stop_teacher_at) == (2.0, "dkd", 0.7)
    assert stage("qat", found).epochs == 5
    assert found.chain is not None
    assert found.chain.pipeline.data.augment == "none"
    assert found.own


def test_settings_of_the_file_that_one_s_own_arm_leaves_unread_are_left_out() -> None:
    found = own("distill.beta=0")

    assert tree_of(stage("distill", found)) == {"stage": "distill", "source": "prune", "beta": 0.0, "epochs": 3}
    assert isinstance(stage("qat", found), Qat)


def test_a_stage_of_the_file_that_asks_for_assistants_asks_for_others_in_an_arm() -> None:
    found = own(
        "distill.assistants=[0.75, 0.5]".replace(" ", ""), TEACHER, PRUNE, {**DISTILL, "assistants": [0.5]}, QAT
    )

    assert names(found.chain) == ["teacher", "prune", "distill-assistant1", "distill-assistant2", "distill", "qat"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--arm '': sets nothing; write e.g. --arm distill.temperature=2"),
        (
            "nobody.epochs=2",
            "--arm 'nobody.epochs=2': 'nobody.epochs=2' does not begin with a stage, data or target; kno",
        ),
        ("seed=2", "--arm 'seed=2': 'seed=2' does not begin with a stage, data or target"),
        ("distill", "--arm 'distill': 'distill' does not begin with a stage, data or target"),
        ("distill.epochs", "--arm 'distill.epochs': is not key.path=value"),
        ("distill.epochs=two", "--arm 'distill.epochs=two': stages[2].epochs: "),
        (
            "distill.beta=0 distill.alpha=1",
            "--arm 'distill.beta=0 distill.alpha=1': stages[2].alpha: is not read, since",
        ),
        ("distill.loss='{", '--arm "distill.loss=\'{": cannot be read (no closing quotation); close the quotes'),
        (
            "qat.id=other",
            "--arm 'qat.id=other': no stage 'qat' leaves a model; stages that do: teacher, prune, distill,",
        ),
    ],
)
def test_a_mistake_in_an_arm_of_one_s_own_is_one_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        own(text)

    assert str(error.value).startswith(told)
    assert len(error.value.lines) == 1
