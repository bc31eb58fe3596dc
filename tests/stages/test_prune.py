"""Pruning as a stage: the criterion and its parameters, as a pipeline file gives them."""

from pathlib import Path
from typing import Any

import pytest

from edgekd import data
from edgekd.config import validate
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pruning.criteria import L2, Taylor
from edgekd.stages import Prune, prune
from tests.chain import write_pipeline

CHAIN = """
    name: pruned
    data: {name: digits, image_size: 8}
    target: {isa: arm64}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 1, batch_size: 512}
      - {stage: prune, pruning_ratio: 0.5}
"""


def read(importance: Any) -> Prune:
    return validate(Prune, {"stage": "prune", "pruning_ratio": 0.5, "importance": importance}, "here")


def test_a_criterion_is_its_name_or_has_parameters_and_is_written_as_short_as_it_can_be() -> None:
    assert read("l2").importance == Prune(pruning_ratio=0.5).importance == L2()
    assert read("taylor") == read({"name": "taylor"}) == read({"name": "taylor", "images": 512})
    assert read("taylor").deciding_settings()["importance"] == "taylor"
    assert read({"name": "taylor", "images": 64}).deciding_settings()["importance"] == {"name": "taylor", "images": 64}


@pytest.mark.parametrize(
    ("importance", "told"),
    [
        ("taylo", "here: importance: unknown importance 'taylo'; did you mean 'taylor'?"),
        ({"name": "l1"}, "here: importance.name: unknown importance 'l1'"),
        ({"name": "l2", "images": 3}, "here: importance.images: unknown key"),
        ({"name": "taylor", "images": 0}, "here: importance.images: input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_criterion_is_told_where_it_stands(importance: Any, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(importance)

    assert str(error.value).startswith(told)


@pytest.mark.parametrize(("importance", "wanted"), [("l2", None), ("taylor", 512), (Taylor(images=70), 70)])
def test_gradients_are_of_as_many_images_as_the_criterion_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importance: Any, wanted: int | None
) -> None:
    asked: list[int] = []
    spread = data.spread_batches

    def counted(split: Any, images: int, batch: int) -> Any:
        asked.append(images)
        return spread(split, images, batch)

    monkeypatch.setattr(prune, "spread_batches", counted)
    text = importance if isinstance(importance, str) else f"{{name: taylor, images: {importance.images}}}"
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, CHAIN), [f"stages.prune.importance={text}"])

    pipeline.run(tmp_path / "models", tmp_path / "exports")

    assert asked == ([] if wanted is None else [wanted])
