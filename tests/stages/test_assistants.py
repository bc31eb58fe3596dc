"""Assistants: one line in a file, stages of their own everywhere else."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.config import validate
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.stages import Distill
from edgekd.stages.manifests import FloatModel, manifest_of
from tests.chain import write_pipeline

TEACHER = {"stage": "teacher", "model": "resnet14", "width_mult": 2.0, "epochs": 4, "keep_epochs": [2]}
PRUNE = {"stage": "prune", "pruning_ratio": 0.5}


def stages(*given: dict[str, Any]) -> list[Any]:
    pipeline = validate(Pipeline, {"name": "x", "stages": [*given]}, "x")
    pipeline.check("x")
    assert validate(Pipeline, pipeline.model_dump(), "x") == pipeline
    return pipeline.stages


def test_each_assistant_is_a_fresh_network_like_the_teacher_taught_by_the_one_before() -> None:
    student = {"stage": "distill", "assistants": [0.75, 0.5], "lr": 0.3, "teacher_epoch": 2, "mixup": True}

    teacher, prune, first, second, last = stages(TEACHER, PRUNE, student)

    for assistant, number, width, taught_by, epoch in (
        (first, 1, 1.5, "teacher", 2),
        (second, 2, 1.0, "distill-assistant1", None),
    ):
        assert (assistant.name, assistant.model, assistant.width_mult) == (
            f"distill-assistant{number}",
            "resnet14",
            width,
        )
        assert (assistant.teacher, assistant.teacher_epoch, assistant.source) == (taught_by, epoch, None)
        assert (assistant.lr, assistant.mixup, assistant.assistants) == (0.3, True, None)
    assert last == Distill(source="prune", teacher="distill-assistant2", lr=0.3, mixup=True)
    assert last.references([teacher, prune, first, second], "") == {"source": "prune", "teacher": "distill-assistant2"}


def test_a_fresh_student_has_assistants_too_and_a_fresh_student_may_teach_them() -> None:
    middle = {"stage": "distill", "id": "middle", "model": "resnet8", "width_mult": 0.5}
    last = {"stage": "distill", "teacher": "middle", "model": "resnet8", "width_mult": 0.1, "assistants": [0.5]}

    *_, assistant, student = stages(TEACHER, middle, last)

    assert (assistant.model, assistant.width_mult, assistant.teacher) == ("resnet8", 0.25, "middle")
    assert (student.source, student.width_mult, student.teacher) == (None, 0.1, "distill-assistant1")


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ({"assistants": [0.5, 0.75]}, r"x: stages\[2\].assistants: must become smaller from one to the next"),
        ({"assistants": [1.0]}, r"x: stages\[2\].assistants\[0\]: input should be less than 1"),
        ({"assistants": []}, r"x: stages\[2\].assistants: list should have at least 1 item"),
        ({"assistants": [0.5], "beta": 0.0}, "assistants: is not read, since beta is 0"),
        ({"assistants": [0.5], "teacher": ["teacher", "prune"]}, "assistants: goes with one teacher"),
        ({"assistants": [0.5], "features": "channels"}, "features: pairs the teacher's channels, and an assistant"),
        (
            {"assistants": [0.5], "teacher": "prune"},
            r"stages\[2\].assistants: are networks like the teacher's, and prune",
        ),
        ({"assistants": [0.5], "teacher": "nobody"}, r"x: stages\[2\].teacher: there is no stage 'nobody'"),
    ],
)
def test_assistants_that_cannot_be_are_refused_at_their_key(student: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        stages(TEACHER, PRUNE, {"stage": "distill", **student})


def test_an_id_that_an_assistant_would_get_is_taken() -> None:
    other = {"stage": "distill", "id": "distill-assistant1"}

    with pytest.raises(ConfigError, match="the id 'distill-assistant1' is used twice"):
        stages(TEACHER, other, {"stage": "distill", "assistants": [0.5]})


CHAIN = """
    name: assisted
    data: {name: digits, image_size: 8}
    stages:
      - {stage: teacher, model: resnet8, epochs: 1, batch_size: 256}
      - {stage: distill, model: resnet8, width_mult: 0.25, epochs: 1, batch_size: 256}
"""


@pytest.mark.slow
def test_an_assistant_asked_for_on_the_command_line_stands_in_plan_and_store(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, CHAIN), ["stages.distill.assistants=[0.5]"])

    pipeline.run(tmp_path / "models", tmp_path / "exports")

    plan = pipeline.plan(tmp_path / "models")
    assert [item.name for item in plan] == ["teacher", "distill-assistant1", "distill"]
    params = [manifest_of(item.artifact, FloatModel).size.params for item in plan if item.artifact]
    assert len(params) == 3
    assert params == sorted(params, reverse=True)
