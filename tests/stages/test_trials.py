"""``auto``: what short trainings choose, and that they leave no trace in the training itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgekd.config import validate
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.report.page.training import search_table, training_words
from edgekd.report.stage_report import Search, StageReport, Trial
from edgekd.stages import Distill, Teacher
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.stages.trials import best_of
from edgekd.store.artifacts import Artifact
from edgekd.training.evaluation import Evaluation
from tests.made import loaded

TEACHER = {"stage": "teacher", "model": "tests.tiny:own_network", "epochs": 4, "batch_size": 256, "lr": 0.02}
STUDENT = {"stage": "distill", "model": "tests.tiny:own_network", "epochs": 4, "batch_size": 256, "mixup": True}


class Noting(Progress):
    """Keeps the notes, and the epochs; may end a run before one."""

    def __init__(self, ends_at: str = "") -> None:
        self.notes: list[str] = []
        self.epochs: list[str] = []
        self.ends_at = ends_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, label: str, epoch: int, epochs: int, figures: Any) -> None:
        self.epochs.append(f"{label} {epoch}/{epochs}")
        if self.epochs[-1] == self.ends_at:
            raise KeyboardInterrupt


def pipeline(*stages: dict[str, Any]) -> Pipeline:
    found = validate(Pipeline, {"name": "x", "data": {"name": "digits", "image_size": 8}, "stages": [*stages]}, "x")
    found.check("x")
    return found


def made(one: Pipeline, folder: Path, progress: Progress | None = None) -> Artifact:
    """The last stage's artifact, after a run."""
    one.run(folder, folder.parent / "exports", progress=progress)
    found = one.plan(folder)[-1].artifact
    assert found is not None
    return found


def tensors(artifact: Artifact) -> dict[str, Tensor]:
    return loaded(artifact)[0].state_dict()


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_temperature_that_was_found_teaches_to_the_bit_as_one_that_was_given(tmp_path: Path) -> None:
    progress = Noting()

    searched = made(pipeline(TEACHER, {**STUDENT, "temperature": "auto"}), tmp_path / "m", progress)

    (search,) = manifest_of(searched, FloatModel).searches
    assert (search.setting, search.epochs, [trial.value for trial in search.tried]) == ("temperature", 1, [1, 2, 4, 8])
    best = max(search.tried, key=lambda trial: trial.val_accuracy)
    assert {trial.value: trial.val_accuracy for trial in search.tried}[search.chosen] == best.val_accuracy
    assert any(f"distill: temperature {search.chosen:g} teaches best (1: " in note for note in progress.notes)
    assert [told for told in manifest_of(searched, FloatModel).told if told.startswith("temperature ")]
    given = made(pipeline(TEACHER, {**STUDENT, "temperature": search.chosen}), tmp_path / "m")
    assert alike(tensors(searched), tensors(given))


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    one = pipeline(TEACHER, {**STUDENT, "temperature": "auto", "epochs": 8})
    never = made(one, tmp_path / "never")
    for ends_at in ("distill: temperature 2 1/2", "distill: temperature 8 2/2", "distill 1/8"):
        with pytest.raises(KeyboardInterrupt):
            one.run(tmp_path / "stopped", tmp_path, progress=Noting(ends_at))

    progress = Noting()
    stopped = made(one, tmp_path / "stopped", progress)

    assert [epoch for epoch in progress.epochs if "temperature" in epoch] == []
    assert alike(tensors(stopped), tensors(never))
    assert manifest_of(stopped, FloatModel).searches == manifest_of(never, FloatModel).searches


@pytest.mark.slow
def test_the_teacher_s_epoch_is_chosen_by_what_the_student_learns_of_it(tmp_path: Path) -> None:
    teacher = {**TEACHER, "keep_epochs": [1, 2]}
    automatic = {**STUDENT, "teacher_epoch": "auto", "temperature": "auto"}

    searched = made(pipeline(teacher, automatic), tmp_path / "m")

    epoch, temperature = manifest_of(searched, FloatModel).searches
    assert [trial.value for trial in epoch.tried] == [1, 2, 4]
    assert temperature.setting == "temperature"
    assert epoch.in_words.startswith(f"teacher epoch {epoch.chosen:g} teaches best (1: ")
    if epoch.chosen != 4:
        given = {**STUDENT, "teacher_epoch": int(epoch.chosen), "temperature": temperature.chosen}
        assert alike(tensors(searched), tensors(made(pipeline(teacher, given), tmp_path / "m")))


@pytest.mark.slow
def test_kept_epochs_are_those_of_a_shorter_look_and_survive_a_stop(tmp_path: Path) -> None:
    one = pipeline({**TEACHER, "keep_epochs": [2, 4]})
    with pytest.raises(KeyboardInterrupt):
        one.run(tmp_path / "stopped", tmp_path, progress=Noting("teacher 3/4"))

    stopped, never, plain = (
        made(one, tmp_path / "stopped"),
        made(one, tmp_path / "never"),
        made(pipeline(TEACHER), tmp_path / "plain"),
    )

    about = manifest_of(stopped, FloatModel)
    assert about.kept_epochs == [2, 4]
    second, last = (about.load(stopped, epoch).state_dict() for epoch in (2, 4))
    assert alike(second, manifest_of(never, FloatModel).load(never, 2).state_dict())
    assert not alike(second, last)
    assert alike(tensors(stopped), tensors(plain))
    best = about.history.best_epoch if about.history else 0
    assert best in (2, 4)
    assert alike(about.load(stopped, best).state_dict(), tensors(stopped))


@pytest.mark.parametrize(
    ("teacher", "student", "told"),
    [
        (
            {},
            {"teacher_epoch": 2},
            r"x: stages\[1\].teacher_epoch: teacher keeps none but its best epoch; give it keep_",
        ),
        ({}, {"teacher_epoch": "auto"}, r"none but its best epoch; give it keep_epochs: \[5, 10\], or leave"),
        ({"keep_epochs": [1, 3]}, {"teacher_epoch": 2}, r"teacher keeps the epochs 1, 3; give it keep_epochs: \[2\]"),
        ({"keep_epochs": [5]}, {}, r"stages\[0\].keep_epochs: must be epochs from 1 to 4, each once, found \[5\]"),
        ({"keep_epochs": [2, 2]}, {}, "each once"),
        ({"keep_epochs": []}, {}, "keep_epochs: list should have at least 1 item"),
        ({"epochs": 0, "weights": "imagenet", "keep_epochs": [1]}, {}, "keep_epochs: is for training, and epochs is 0"),
        ({}, {"temperature": "hot"}, r"x: stages\[1\].temperature: input should be 'auto', found 'hot'"),
        ({}, {"temperature": 0}, r"x: stages\[1\].temperature: input should be greater than 0, found 0"),
    ],
)
def test_what_cannot_be_tried_is_refused_at_its_key(
    teacher: dict[str, Any], student: dict[str, Any], told: str
) -> None:
    given = {
        key: value for key, value in TEACHER.items() if "weights" not in teacher or key not in ("lr", "batch_size")
    }

    with pytest.raises(ConfigError, match=told):
        pipeline({**given, **teacher}, {**STUDENT, **student})


def test_what_is_not_given_is_no_part_of_the_digest() -> None:
    assert {"keep_epochs", "teacher_epoch"}.isdisjoint(Teacher(model="resnet8").deciding_settings())
    assert "teacher_epoch" not in Distill().deciding_settings()
    assert Distill(temperature="auto").deciding_settings()["temperature"] == "auto"


def test_of_equally_accurate_students_the_one_with_the_lower_cross_entropy_is_taken() -> None:
    tried = {1.0: Evaluation(0.8, 0.5), 2.0: Evaluation(0.8, 0.4), 4.0: Evaluation(0.8, 0.4), 8.0: Evaluation(0.7, 0.1)}

    assert best_of(tried, balanced=False) == 2.0


def test_the_page_has_a_row_for_each_value_and_says_which_was_chosen() -> None:
    tried = [Trial(value=1, val_accuracy=0.5), Trial(value=2, val_accuracy=0.75)]
    search = Search(setting="teacher_epoch", epochs=7, tried=tried, chosen=2)
    stage = StageReport(
        id="distill", stage="distill", settings={}, digest="", seconds=3.0, val_accuracy=0.8, searches=[search]
    )

    table = search_table(search)

    assert [column.title[0].text for column in table.columns] == ["teacher epoch", "accuracy on val after 7 epochs"]
    assert [[cell[0].text for cell in row.cells] for row in table.rows] == [["1", "50.0 %"], ["2", "75.0 %"]]
    assert [row.tag and row.tag.text for row in table.rows] == [None, "chosen"]
    assert "teacher epoch 2 was chosen" in training_words(stage)
