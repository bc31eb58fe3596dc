"""Whole searches around the smallest chain: what comes out, what is read, and that it goes on."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekd.config.progress import Progress
from edgekd.data import Dataset, DataSettings, Split, load_dataset
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.inventory import inventory
from edgekd.pipeline.search import search as module
from edgekd.pipeline.search import trial
from edgekd.pipeline.search.front import front_of
from edgekd.pipeline.search.search import Places, search
from edgekd.report.search.schema import Front
from edgekd.store.artifacts import Store
from tests.chain import write_pipeline
from tests.search.chain import SEARCHED

JOURNAL = "study.journal"
pytestmark = pytest.mark.slow


def run(folder: Path, wanted: int) -> Front:
    places = Places(folder / "models", folder / "exports", str(folder / JOURNAL))
    return search(folder / "small.yaml", [], wanted, places, "tpe", Progress())


class Guarded:
    """A split that nobody may look at until it is opened."""

    opened: ClassVar[bool] = False

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getattr__(self, name: str) -> Any:
        assert Guarded.opened, "test is read while trials are judged"
        return getattr(self._split, name)

    def __len__(self) -> int:
        return len(self.__getattr__("labels"))


def guarded(settings: DataSettings, progress: Progress) -> Dataset:
    data = load_dataset(settings, progress)
    return replace(data, test=Guarded(data.test), known_fingerprint=data.fingerprint())  # type: ignore[arg-type]


def at_the_end(*arguments: Any) -> Front:
    Guarded.opened = True
    return front_of(*arguments)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three trials were made, without a look at test before the end."""
    folder = tmp_path_factory.mktemp("searched")
    write_pipeline(folder, SEARCHED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "load_dataset", guarded)
        patch.setattr(module, "front_of", at_the_end)
        run(folder, 3)
    return folder


@pytest.fixture(scope="module")
def front(searched: Path) -> Front:
    return Front.model_validate_json((searched / "exports/tiny.search/front.json").read_text(encoding="utf-8"))


def test_the_first_trial_is_the_file_as_it_is(front: Front) -> None:
    assert front.trials[0].values == {"distill.temperature": 4.0, "ptq.weight_bits": None, "prune.pruning_ratio": 0.5}
    assert front.against_file is not None
    assert front.against_file.trial == 0


def test_every_trial_shares_the_teacher_and_stages_that_are_alike(searched: Path, front: Front) -> None:
    teachers = {trial.digests[0] for trial in front.trials}
    pruned = {trial.values["prune.pruning_ratio"]: trial.digests[1] for trial in front.trials}

    assert len(front.trials) == 3
    assert len(teachers) == 1
    assert {trial.digests[1] for trial in front.trials} == set(pruned.values())
    assert all(Store(searched / "models").find(digest) for trial in front.trials for digest in trial.digests)


def test_the_best_file_is_ready_to_run_and_is_the_trial_itself(searched: Path, front: Front) -> None:
    best = Pipeline.from_yaml(searched / "exports/tiny.search/best.yaml")

    planned = best.plan(searched / "models")

    assert best.name == "tiny-best"
    assert best.search is None
    assert [item.digest for item in planned] == front.tried(front.best).digests
    assert all(item.artifact for item in planned)


def test_what_the_front_refers_to_is_not_collected(searched: Path, front: Front) -> None:
    entries = inventory(Store(searched / "models"), searched / "exports")

    kept = {entry.digest for entry in entries if entry.exports == ("tiny.search",)}
    shown = {standing.trial for standing in front.standings}
    assert kept >= {digest[:16] for trial in front.trials if trial.number in shown for digest in trial.digests}
    assert all(entry.exports or entry.stage != "teacher" for entry in entries)


def test_more_trials_go_on_from_those_that_are_done(searched: Path, front: Front, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)

    more = run(tmp_path, 4)

    assert more.trials[:3] == front.trials
    assert len(more.trials) == 4


def test_nothing_reads_test_before_the_front_is_known(front: Front) -> None:
    """It was guarded until then."""
    assert Guarded.opened
    assert {standing.on_test.total for standing in front.standings} == {360}


def test_a_changed_file_is_another_search(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    write_pipeline(tmp_path, SEARCHED.replace("epochs: 2", "epochs: 3"))

    with pytest.raises(ConfigError, match="the search 'tiny' that lies there is about other settings"):
        run(tmp_path, 3)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("- {stage: export, models: [teacher, ptq]}", "", "there is no export stage, so no file to judge"),
        ("- {stage: prune, pruning_ratio: 0.5}", "- {stage: export}", "there is nothing but teachers"),
    ],
)
def test_a_file_that_gives_nothing_to_judge_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = SEARCHED.partition("    search:")[0].replace(old, new)
    if "nothing but" in told:
        text = "\n".join(line for line in text.splitlines() if "distill" not in line and "ptq" not in line)
    write_pipeline(tmp_path, text)

    with pytest.raises(ConfigError, match=told):
        run(tmp_path, 1)


def test_where_no_trial_can_be_measured_that_is_told_with_the_first_reason(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    (tmp_path / JOURNAL).unlink()
    monkeypatch.setattr(trial, "HOPELESS", -2.0)

    with pytest.raises(ConfigError, match=r"search: none of 1 trials could be measured; the first: distill has"):
        run(tmp_path, 1)
