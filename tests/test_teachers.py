"""Several teachers: they answer as the mean of their probabilities, and all of them are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config import validate
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline, Planned
from edgekd.stages import Distill, Qat
from edgekd.stages.teachers import as_one, teacher_roles
from edgekd.training.losses import Dist, Dkd, Kd, mean_logits
from tests.chain import write_pipeline

LOGITS = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_two_teachers_answer_as_computed_by_hand() -> None:
    sure, torn = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])

    # softmax(4 / 2, 0) is .880797, and of the other one .5: their mean .690399.
    found = (mean_logits([sure, torn], 2.0) / 2.0).softmax(1)

    assert found.tolist() == [pytest.approx([0.690399, 0.309601], abs=1e-6)]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_every_loss_of_the_mean_is_that_of_the_mean_of_softened_probabilities(temperature: float) -> None:
    student, labels = LOGITS[2], torch.arange(8)
    soft = torch.stack([F.softmax(logits / temperature, 1) for logits in LOGITS[:2]]).mean(0)
    same = temperature * soft.log()

    for loss in (Kd(), Dkd(), Dist()):
        found = loss(student, mean_logits(list(LOGITS[:2]), temperature), labels, temperature)
        assert found.item() == pytest.approx(loss(student, same, labels, temperature).item(), rel=1e-9)


def test_it_is_no_mean_of_logits() -> None:
    teachers = list(LOGITS[:2])

    assert not torch.allclose(
        mean_logits(teachers, 2.0).softmax(1), torch.stack(teachers).mean(0).softmax(1), atol=0.01
    )


def test_one_teacher_alone_answers_to_the_bit_as_without_others() -> None:
    teacher = nn.Linear(4, 3)

    assert as_one([teacher], 4.0) is teacher


def pipeline(**settings: Any) -> Pipeline:
    rates = (("a", 0.1), ("b", 0.2), ("like-a", 0.1))
    teachers = [{"stage": "teacher", "id": name, "model": "resnet8", "lr": lr} for name, lr in rates]
    taught = {"stage": "distill", "source": "a", **settings}
    data = {"name": "digits", "image_size": 8}
    found = validate(Pipeline, {"name": "x", "data": data, "stages": [*teachers, taught]}, "x")
    found.check("x")
    return found


def distilled(**settings: Any) -> Planned:
    return pipeline(**settings).plan()[-1]


def test_the_digest_names_every_teacher_and_stays_that_of_one_where_there_is_one() -> None:
    both, one, unsaid = distilled(teacher=["a", "b"]), distilled(teacher="a"), distilled()

    assert both.references == {"source": "a", "teacher": "a", "teacher 2": "b"}
    assert one.digest == unsaid.digest
    assert len({both.digest, one.digest, distilled(teacher="b").digest}) == 3
    assert teacher_roles("none", []) == {}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"teacher": ["a", "c"]}, r"x: stages\[3\].teacher: there is no stage 'c'"),
        ({"teacher": ["a", "a"]}, r"x: stages\[3\].teacher: a stage is named twice"),
        ({"teacher": ["a"]}, r"x: stages\[3\].teacher: list should have at least 2 items"),
        ({"teacher": ["a", "like-a"]}, r"x: stages\[3\].teacher: a and like-a are one network: their settings are the"),
        ({"teacher": ["a", "none"]}, r"x: stages\[3\].teacher: none stands alone"),
        ({"teacher": 3}, r"x: stages\[3\].teacher: input should be a valid string, found 3"),
        ({"teacher": ["a", "b"], "standardize": True}, "standardize: goes with one teacher"),
        ({"teacher": ["a", "b"], "features": "attention"}, "features: goes with one teacher"),
    ],
)
def test_teachers_that_cannot_teach_together_are_refused_at_their_key(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        pipeline(**settings)


COUNCIL = """
    name: council
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, id: a, model: "tests.tiny:own_network", epochs: 1, batch_size: 256}
      - {stage: teacher, id: b, model: "tests.tiny:own_network", epochs: 1, batch_size: 256, lr: 0.2}
      - {stage: distill, source: b, teacher: [a, b], epochs: 1, batch_size: 256}
      - {stage: qat, teacher: [a, b], epochs: 1, batch_size: 256}
"""


@pytest.mark.slow
def test_two_teachers_teach_a_student_and_its_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[float] = set()

    def noted(logits: list[Tensor], temperature: float) -> Tensor:
        asked.add(temperature)
        return mean_logits(logits, temperature)

    monkeypatch.setattr("edgekd.stages.teachers.mean_logits", noted)
    one = Pipeline.from_yaml(write_pipeline(tmp_path, COUNCIL))
    one.run(tmp_path / "models", tmp_path / "exports")

    assert all(item.artifact is not None for item in one.plan(tmp_path / "models"))
    assert asked == {Distill().temperature, Qat().temperature}
