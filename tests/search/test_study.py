"""Trials in Optuna's storage: shared by workers, taken up after a kill, never more than wanted."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ConfigError
from edgekd.pipeline.search.space import Choice, Dimension, Numbers
from edgekd.pipeline.search.study import Asked, Plan, Trials, trials_of
from edgekd.report.search.schema import Tried
from edgekd.store.artifacts import Store
from tests.report.search.made_up import contender

SPACE: dict[str, Dimension] = {
    "prune.pruning_ratio": Numbers(low=0.3, high=0.8),
    "distill.temperature": Numbers(low=1, high=8),
    "distill.loss": Choice(any=["kd", {"name": "dkd", "others_weight": 4.0}]),
    "qat.weight_bits": Choice(any=[None, 4]),
}
OWN = {"prune.pruning_ratio": 0.5, "distill.temperature": 4, "distill.loss": "kd", "qat.weight_bits": None}


def plan(folder: Path, storage: str = "study.journal", **changed: Any) -> Plan:
    given = {"name": "tiny", "about": "this", "space": SPACE, "sampler": "tpe", "seed": 0, **changed}
    return Plan(storage=str(folder / storage), **given)


@contextlib.contextmanager
def worker(folder: Path, storage: str = "study.journal", **changed: Any) -> Iterator[Trials]:
    with trials_of(plan(folder, storage, **changed), Store(folder / "models")) as trials:
        yield trials


def asked(trials: Trials, wanted: int = 9) -> Asked:
    found = trials.next(wanted)
    assert found is not None
    return found


def ended(trial: Asked, **more: Any) -> Tried:
    about = {"outcome": "measured", "seconds": 1.0, "contender": contender(), **more}
    return Tried.model_validate({"number": trial.number, "values": trial.values, **about})


@pytest.mark.parametrize("storage", ["study.db", "study.journal"])
def test_two_workers_share_the_trials_and_stop_when_there_are_enough(tmp_path: Path, storage: str) -> None:
    with worker(tmp_path, storage) as one, worker(tmp_path, storage) as other:
        first, second = asked(one, 3), asked(other, 3)
        one.tell(first, ended(first))
        third = asked(one, 3)

        assert [first.number, second.number, third.number] == [0, 1, 2]
        assert first.values != second.values
        assert (one.next(3), other.next(3)) == (None, None)
        assert len(one.others()) == len(other.others()) == 1
        other.tell(second, ended(second))
        one.tell(third, ended(third))
        assert [trial.number for trial in other.done()] == [0, 1, 2]
        assert one.others() == other.others() == []


def test_the_trial_of_a_worker_that_is_gone_is_tried_again_with_the_same_values(tmp_path: Path) -> None:
    with worker(tmp_path) as left:
        lost = asked(left, 1)
    with worker(tmp_path) as other:
        again = asked(other, 1)

        assert again.values == lost.values
        assert again.number != lost.number
        assert other.next(1) is None
        other.tell(again, ended(again))
        assert [trial.number for trial in other.done()] == [again.number]


def test_a_trial_whose_worker_was_killed_before_it_signed_it_is_tried_again(tmp_path: Path) -> None:
    with worker(tmp_path) as left:
        left._study.ask()

    with worker(tmp_path) as other:
        assert other.others() == []
        assert asked(other, 1).number == 1
        assert other.next(1) is None


def test_values_come_back_as_the_file_has_them(tmp_path: Path) -> None:
    with worker(tmp_path) as trials:
        trials.begin_with(OWN)
        trials.begin_with({**OWN, "distill.temperature": 5})
        found = [asked(trials, 16).values for _ in range(16)]

    assert found[0] == OWN
    assert {str(values["distill.loss"]) for values in found} == {"kd", "{'name': 'dkd', 'others_weight': 4.0}"}
    assert {values["qat.weight_bits"] for values in found} == {None, 4}
    assert all(type(values["distill.temperature"]) is int for values in found)
    assert all(values["prune.pruning_ratio"] == round(values["prune.pruning_ratio"], 3) for values in found)


def test_what_is_proposed_follows_from_the_seed_and_the_place_alone(tmp_path: Path) -> None:
    proposed = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with (
            worker(tmp_path, f"{name}.journal", seed=seed) as one,
            worker(tmp_path, f"{name}.journal", seed=seed) as two,
        ):
            proposed.append([asked(one).values, asked(one if name == "a" else two).values])

    assert proposed[0] == proposed[1] != proposed[2]


def test_values_near_those_that_keep_the_budget_are_proposed(tmp_path: Path) -> None:
    with worker(tmp_path, space={"prune.pruning_ratio": Numbers(low=0.3, high=0.8)}) as trials:
        for _ in range(20):
            trial = asked(trials, 20)
            ratio = trial.values["prune.pruning_ratio"]
            trials.tell(
                trial, ended(trial, contender=contender(latency=ratio)) if ratio < 0.4 else beyond(trial, ratio)
            )
        late = [trial.values["prune.pruning_ratio"] for trial in trials.done()[8:]]

    # A fifth of all values keep it.
    assert sum(ratio < 0.4 for ratio in late) >= len(late) / 2


def beyond(trial: Asked, ratio: float) -> Tried:
    return ended(trial, outcome="stopped early", contender=None, excess=ratio - 0.4)


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_other_samplers_propose_too(tmp_path: Path, sampler: str) -> None:
    with worker(tmp_path, sampler=sampler) as trials:
        for _ in range(3):
            trial = asked(trials)
            trials.tell(trial, ended(trial))

        assert [trial.values.keys() for trial in trials.done()] == [SPACE.keys()] * 3


def test_a_search_about_something_else_is_refused(tmp_path: Path) -> None:
    with worker(tmp_path):
        pass

    told = r"study\.journal: the search 'tiny' that lies there is about other settings"
    with pytest.raises(ConfigError, match=told), worker(tmp_path, about="that"):
        pass


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        (
            "postgresql://me:secret@127.0.0.1:1/none",
            r"--storage postgresql://me:\*\*\*@127.0.0.1:1/none: cannot be opened",
        ),
        ("nothing://", "--storage nothing://: cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password(
    tmp_path: Path, storage: str, told: str
) -> None:
    elsewhere = Plan("tiny", storage, "this", SPACE, "tpe", 0)
    with pytest.raises(ConfigError, match=told) as error, trials_of(elsewhere, Store(tmp_path)):
        pass

    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
