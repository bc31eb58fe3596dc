"""The JSON schema of pipeline files: editors must take what edgekd takes, and mark what it refuses."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgekd.config import read_yaml, with_overrides
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.schema import schema

ROOT = Path(__file__).parent.parent
MOBILENET = ROOT / "pipelines" / "mobilenet.yaml"


def mistakes(tree: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema())
    return [error.message for error in validator.iter_errors(tree)]


def shipped() -> list[Path]:
    return [*sorted(ROOT.glob("pipelines/*.yaml")), *sorted(ROOT.glob("benchmarks/*/*.yaml"))]


def test_the_schema_is_a_schema_and_survives_json() -> None:
    found = schema()

    jsonschema.Draft202012Validator.check_schema(found)
    assert json.loads(json.dumps(found)) == found
    assert len(found["$defs"]) > 20


def test_editors_find_the_schema_beside_the_shipped_pipelines() -> None:
    kept = json.loads((ROOT / "pipelines" / "schema.json").read_text("utf-8"))

    assert kept == schema(), "edgekd pipeline schema > pipelines/schema.json"
    for path in ROOT.glob("pipelines/*.yaml"):
        assert path.read_text("utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_file_fits(path: Path) -> None:
    assert mistakes(read_yaml(path)) == []


@pytest.mark.parametrize(
    "change",
    [
        "stages.2.loss=dkd",
        "stages.2.loss={name: dkd, others_weight: 4}",
        "data={image_size: 16}",
        "target.isa=any",
        "stages.2.features=channels",
        "stages.2.features={name: attention, weight: 10}",
        "stages.2.temperature=auto",
        "stages.2.assistants=[0.75, 0.5]",
        "stages.2.teacher_epoch=auto",
        "stages.0.keep_epochs=[2]",
        "stages.3.teacher=[a, b]",
    ],
)
def test_what_is_taken_in_another_way_fits_too(change: str) -> None:
    tree = with_overrides(read_yaml(MOBILENET), [change])

    Pipeline.model_validate(tree)
    assert mistakes(tree) == []


@pytest.mark.parametrize(
    "change",
    [
        "stages.0={model: mobilenet_v2}",
        "stages.1.pruning_ratio=2",
        "stages.2.los=dkd",
        "stages.2.loss=dk",
        "stages.2.features=chanels",
        "stages.2.temperature=hot",
        "stages.2.assistants=[2]",
        "stages.2.teacher=[teacher]",
        "data={name: folder}",
        "seed=-1",
        "budgets={}",
    ],
)
def test_what_is_refused_is_marked(change: str) -> None:
    with pytest.raises(ConfigError):
        Pipeline.from_yaml(MOBILENET, [change])
    assert len(mistakes(with_overrides(read_yaml(MOBILENET), [change]))) >= 1
