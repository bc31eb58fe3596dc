"""What a search varies: how it is written, what is refused, what is suggested; and that it decides no artifact."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.config import read_yaml
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.search.default_space import own_values, space_of
from edgekd.pipeline.search.space import Choice, Numbers, value_of, with_values
from tests.chain import TINY, write_pipeline


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    return read_yaml(write_pipeline(tmp_path, TINY))


def read(tree: dict[str, Any], **search: Any) -> Pipeline:
    return Pipeline.from_tree({**tree, "search": search}, "FILE")


def refused(tree: dict[str, Any], key: str, given: Any) -> str:
    with pytest.raises(ConfigError) as error:
        Pipeline.from_tree({**tree, "search": {key: given}}, "FILE")
    (line,) = error.value.lines
    return line


def test_two_numbers_are_a_range_and_a_mapping_says_more(tree: dict[str, Any]) -> None:
    given = {
        "prune.pruning_ratio": [0.3, 0.8],
        "distill.lr": {"low": 0.01, "high": 0.3, "log": True},
        "distill.temperature": [1, 8],
        "qat.weight_bits": {"any": [None, 4]},
        "data.image_size": {"any": [8, 16]},
    }
    space = Pipeline.from_tree({**tree, "search": given}, "FILE").search

    assert space == {
        "prune.pruning_ratio": Numbers(low=0.3, high=0.8),
        "distill.lr": Numbers(low=0.01, high=0.3, log=True),
        "distill.temperature": Numbers(low=1, high=8),
        "qat.weight_bits": Choice(any=[None, 4]),
        "data.image_size": Choice(any=[8, 16]),
    }
    assert [dimension.whole for dimension in space.values() if isinstance(dimension, Numbers)] == [False, False, True]


@pytest.mark.parametrize(
    ("key", "given", "told"),
    [
        ("prun.pruning_ratio", [0.3, 0.8], "FILE: search.prun.pruning_ratio: there is no stage 'prun'; did you mean"),
        ("prune.ratio", [0.3, 0.8], "FILE: search.prune.ratio: with 0.3 there the file is refused: unknown key; did"),
        ("prune.pruning_ratio", [0.3, 0.9], "with 0.9 there the file is refused: is 0.9, but no layer may lose more"),
        ("distill.loss", {"any": ["kd", "mse"]}, "with 'mse' there the file is refused: unknown loss 'mse'"),
        ("distill.labels_lr", [0.1, 0.5], "is not read, since stop_teacher_at is 1; leave it out"),
        ("distill.lr", [0.3, 0.1], "FILE: search.distill.lr.high: must be above low (0.3), found 0.1"),
        ("distill.lr", {"low": 0, "high": 1, "log": True}, "search.distill.lr.low: must be above 0 where log is true"),
        ("distill.lr", 0.1, "must be [low, high] or a mapping with low and high, or with any; found 0.1"),
        ("distill.lr", {"any": [0.1, 0.1]}, "search.distill.lr.any: 0.1 is named twice; name each value once"),
        ("target.threads", [1, 2], "there is no stage 'target'; known: teacher, prune, distill, qat, export, data"),
        ("data", [1, 2], "search.data: names no setting; write e.g. data.image_size"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_line(tree: dict[str, Any], key: str, given: Any, told: str) -> None:
    assert told in refused(tree, key, given)


def test_the_section_changes_no_digest(tree: dict[str, Any], tmp_path: Path) -> None:
    plain, searched = Pipeline.from_tree(tree, "FILE"), read(tree, **{"distill.lr": [0.01, 0.1]})

    digests = [[item.digest for item in pipeline.plan(tmp_path)] for pipeline in (plain, searched)]

    assert digests[0] == digests[1]


def test_the_files_own_values_put_in_again_change_no_digest(tree: dict[str, Any], tmp_path: Path) -> None:
    pipeline = Pipeline.from_tree(tree, "FILE")
    own = own_values(pipeline, space_of(pipeline, tree, "FILE"))
    assert own is not None

    again = Pipeline.from_tree(with_values(tree, own), "FILE")

    assert [item.digest for item in again.plan(tmp_path)] == [item.digest for item in pipeline.plan(tmp_path)]


def test_a_number_is_written_with_few_digits_and_never_leaves_its_range() -> None:
    rates = Numbers(low=0.012345, high=0.3, log=True)

    assert rates.written(0.0567891) == 0.0568
    assert rates.written(0.0123451) == 0.012345
    assert Numbers(low=1, high=8).written(5) == 5


def test_without_a_section_the_stages_suggest_what_the_file_takes(tree: dict[str, Any]) -> None:
    tree = with_values(tree, {"distill.standardize": True, "distill.temperature": 3.0})
    pipeline = Pipeline.from_tree(tree, "FILE")

    space = space_of(pipeline, tree, "FILE")

    assert space == {
        "prune.pruning_ratio": Numbers(low=0.3, high=0.8),
        "distill.loss": Choice(any=["kd", "dkd"]),
        "distill.temperature": Numbers(low=1, high=8),
        "distill.lr": Numbers(low=0.025, high=0.4, log=True),
        "qat.weight_bits": Choice(any=[None, 4]),
        "qat.lr": Numbers(low=0.0005, high=0.02, log=True),
    }
    assert own_values(pipeline, space) == {
        "prune.pruning_ratio": 0.5, "distill.loss": "kd", "distill.temperature": 3.0, "distill.lr": 0.1,
        "qat.weight_bits": None, "qat.lr": 0.002,
    }  # fmt: skip


def test_a_file_whose_own_value_is_not_searched_has_no_place_among_the_trials(tree: dict[str, Any]) -> None:
    pipeline = read(tree, **{"prune.pruning_ratio": [0.6, 0.8]})

    assert pipeline.search is not None
    assert own_values(pipeline, pipeline.search) is None


def test_where_nothing_can_be_suggested_a_section_is_asked_for(tree: dict[str, Any]) -> None:
    tree = {**tree, "stages": [tree["stages"][0], {"stage": "export"}]}

    with pytest.raises(ConfigError, match="FILE: search: is missing, and no stage suggests one"):
        space_of(Pipeline.from_tree(tree, "FILE"), tree, "FILE")


def test_a_value_may_be_a_whole_mapping(tree: dict[str, Any]) -> None:
    students = {
        "any": [{"stage": "distill", "model": "resnet8", "width_mult": 0.25}, {"stage": "distill", "epochs": 2}]
    }
    pipeline = read(tree, distill=students)

    found = with_values(tree, {"distill": students["any"][0]})

    assert pipeline.search is not None
    assert found["stages"][2] == {"stage": "distill", "model": "resnet8", "width_mult": 0.25}
    assert value_of("distill.model", found) == "resnet8"
    assert value_of("distill.lr", found) is None
