"""What a pipeline has done, has under way and has still to do."""

import json
import sys
from pathlib import Path

import pytest

from edgekd import cli
from edgekd.config.progress import Progress
from edgekd.pipeline import Pipeline
from edgekd.pipeline.status import Status, pipeline_status
from edgekd.store import lock
from edgekd.store.artifacts import Store
from tests.chain import TINY, write_pipeline


class StopError(Exception):
    """Stands for whatever ends a process."""


class StopAt(Progress):
    """Ends the run at one step of one stage."""

    def __init__(self, stage: str, step: int) -> None:
        self.at = (stage, step)

    def work(self, label: str, done: int, total: int) -> None:
        if (label, done) == self.at:
            raise StopError


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline that was stopped in its distill stage's third epoch (of four steps each)."""
    folder = tmp_path_factory.mktemp("stopped")
    pipeline = Pipeline.from_yaml(write_pipeline(folder, TINY))
    with pytest.raises(StopError):
        pipeline.run(folder / "models", folder / "exports", progress=StopAt("distill", 10))
    return folder


def statuses(folder: Path) -> dict[str, Status]:
    pipeline = Pipeline.from_yaml(folder / "small.yaml")
    return {found.name: found for found in pipeline_status(pipeline, folder / "models", folder / "exports")}


def test_before_anything_ran_all_is_to_do_and_nothing_is_made(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, TINY)

    found = statuses(tmp_path)

    assert [status.state for status in found.values()] == ["to do"] * 6
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_done_says_how_long_it_took_and_what_was_stopped_its_epoch(stopped: Path) -> None:
    found = statuses(stopped)

    states = {name: status.state for name, status in found.items()}
    assert states == {
        "teacher": "done", "prune": "done", "distill": "stopped", "qat": "to do", "export": "to do", "report": "to do",
    }  # fmt: skip
    assert (found["distill"].epoch, found["distill"].epochs) == (2, 3)
    assert found["teacher"].seconds is not None
    assert 0 < found["teacher"].seconds < 60


def test_a_stage_whose_lock_another_run_holds_is_under_way(stopped: Path) -> None:
    store = Store(stopped / "models")
    digests = {name: status.digest for name, status in statuses(stopped).items()}

    with lock.held(store.lock(digests["distill"]), print), lock.held(store.lock(digests["qat"]), print):
        found = statuses(stopped)

    assert (found["distill"].state, found["distill"].epoch, found["distill"].epochs) == ("under way", 2, 3)
    assert found["distill"].detail.startswith("pid ")
    assert (found["qat"].state, found["qat"].epoch) == ("under way", None)


def test_damage_is_told_and_nothing_is_set_aside(stopped: Path) -> None:
    folder = Store(stopped / "models").folder(statuses(stopped)["prune"].digest)
    whole = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(whole[:-1])

    found = statuses(stopped)["prune"]

    assert (found.state, found.detail) == ("damaged", "weights.safetensors is not as it was written")
    (folder / "weights.safetensors").write_bytes(whole)
    assert statuses(stopped)["prune"].state == "done"


@pytest.mark.parametrize(
    ("text", "state", "detail"),
    [
        ('{"stages": []}', "to do", "the one that lies there is about other settings"),
        ("{", "damaged", "is not a report of edgekd"),
    ],
)
def test_a_report_about_something_else_is_told(stopped: Path, text: str, state: str, detail: str) -> None:
    path = stopped / "exports" / "tiny" / "report.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    found = statuses(stopped)["report"]

    assert found.state == state
    assert detail in found.detail


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_the_command_shows_it(
    stopped: Path, json_: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--models", str(stopped / "models"), "--exports", str(stopped / "exports")]
    monkeypatch.setattr(sys, "argv", ["edgekd", "pipeline", "status", str(stopped / "small.yaml"), *places, *json_])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    out = capsys.readouterr().out
    assert ended.value.code == 0
    if json_:
        found = {stage["name"]: stage for stage in json.loads(out)["stages"]}
        assert (found["distill"]["state"], found["distill"]["epoch"], found["distill"]["epochs"]) == ("stopped", 2, 3)
    else:
        (line,) = (line for line in out.splitlines() if line.startswith("distill"))
        assert "stopped" in line
        assert "2 of 3" in line
