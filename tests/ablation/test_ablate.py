"""Ablations that are run: what they leave, what they share, and that nothing is done twice."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekd import cli
from edgekd.bundle.check import verify
from edgekd.config.progress import Progress
from edgekd.errors import ArtifactError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.ablation import ablate, ablation_status
from edgekd.pipeline.ablation import runs as runs_module
from edgekd.pipeline.ablation.runs import ended
from edgekd.pipeline.inventory import inventory
from edgekd.report.ablation.load import load_ablation
from edgekd.report.ablation.schema import Ablation
from edgekd.report.schema import Report
from edgekd.store import lock
from edgekd.store.artifacts import Store
from tests.ablation.made_up import FLOAT, plan_of, run_of
from tests.chain import write_pipeline

pytestmark = pytest.mark.slow
SHORT = FLOAT.replace("      - {stage: prune, pruning_ratio: 0.5}\n", "")
IMPOSSIBLE = "distill.activations=relu"


class Told(Progress):
    """Keeps what is told, and ends it at a stage if asked to."""

    def __init__(self, end_at: str = "") -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []
        self.epochs: list[str] = []
        self._end_at = end_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stage(self, label: str, index: int, total: int) -> None:
        self.stages.append(f"{index + 1}/{total} {label}")
        if label == self._end_at:
            raise KeyboardInterrupt

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self.epochs.append(label)


class Done:
    """A folder in which a pipeline was run, then an ablation of it, which was stopped once.

    Args:
        report: of the pipeline.
        stopped: what was told until the ablation was stopped.
        told: what was told from then on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.models, self.exports = folder, folder / "models", folder / "exports"
        self.plan = plan_of(folder, SHORT, arms=("labels",), own=(IMPOSSIBLE,), seeds=2)
        report = Pipeline.from_yaml(folder / "small.yaml").run(self.models, self.exports)
        assert report is not None
        self.report: Report = report
        self.stopped, self.told = Told("seed 1, arm base: distill"), Told()
        with contextlib.suppress(KeyboardInterrupt):
            ablate(self.plan, self.models, self.exports, self.stopped)
        self.early = load_ablation(self.file)
        self.found: Ablation = ablate(self.plan, self.models, self.exports, self.told)

    @property
    def file(self) -> Path:
        return self.exports / "tiny" / "ablation.json"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(tmp_path_factory.mktemp("ablated"))


def without_times(found: Ablation) -> dict[str, Any]:
    return found.model_dump(exclude={"created"})


def test_the_file_s_own_run_is_found_in_the_store_and_has_the_figures_of_its_report(done: Done) -> None:
    model = next(model for model in done.report.models if model.id == "distill")
    (base, _) = (run for run in done.found.runs if run.arm == "base")

    assert not [stage for stage in done.stopped.stages if "seed 0, arm base" in stage]
    assert (base.correct, base.total, base.val_accuracy) == (model.correct, model.total, model.val_accuracy)
    assert (base.size_bytes, base.macs, base.latency_p50_ms) == (model.size_bytes, model.macs, model.latency_ms.p50)
    assert base.latency_ratio == model.latency_ratio


def test_every_run_says_which_it_is_and_trains_only_what_it_does_not_share(done: Done) -> None:
    told = [*done.stopped.epochs, *done.told.epochs]

    assert sorted(told) == [
        "seed 0, arm labels: distill",
        "seed 1, arm base: distill",
        "seed 1, arm base: teacher",
        "seed 1, arm labels: distill",
    ]
    assert "5/24 seed 0, arm labels: teacher" in done.stopped.stages


def test_figures_of_a_seed_are_written_when_it_is_whole_and_all_in_the_end(done: Done) -> None:
    assert done.early is not None
    assert {run.seed for run in done.early.runs} == {0}
    assert load_ablation(done.file) is not None
    assert done.early.runs_left == 2
    assert [(run.seed, run.arm) for run in done.found.runs] == [
        (seed, arm) for seed in (0, 1) for arm in ("base", "labels")
    ]
    assert done.found.runs_left == 0
    assert "<html" in (done.exports / "tiny" / "ablation.html").read_text(encoding="utf-8")
    assert done.told.notes[-1] == "ablation: 6 of 6 runs done"


def test_an_arm_that_cannot_be_built_ends_no_other(done: Done) -> None:
    impossible = next(arm for arm in done.found.arms if arm.name == IMPOSSIBLE)

    assert impossible.change is None
    assert impossible.error.startswith("stages[1] (distill): activations: the network has no smooth activation")


def test_a_second_call_makes_nothing_and_finds_the_same(done: Done) -> None:
    told, store = Told(), done.models
    before = sorted(path.name for path in store.iterdir())

    again = ablate(
        plan_of(done.folder, SHORT, arms=("labels",), own=(IMPOSSIBLE,), seeds=2), done.models, done.exports, told
    )

    assert without_times(again) == without_times(done.found)
    assert told.epochs == []
    assert sorted(path.name for path in store.iterdir()) == before


def test_the_bundle_stays_whole_and_a_later_run_keeps_the_ablation(done: Done, tmp_path: Path) -> None:
    exports = shutil.copytree(done.exports, tmp_path / "exports")
    checked = verify(exports / "tiny")

    Pipeline.from_yaml(done.folder / "small.yaml").run(done.models, exports)

    assert checked["ok"]
    listed = json.loads((done.exports / "tiny" / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert {name: about["device"] for name, about in listed.items() if "ablation" in name} == {
        "ablation.html": False,
        "ablation.json": False,
    }
    assert verify(exports / "tiny")["ok"]
    kept = load_ablation(exports / "tiny" / "ablation.json")
    assert kept is not None
    assert without_times(kept) == without_times(done.found)
    assert (exports / "tiny" / "ablation.html").is_file()


def test_what_an_ablation_is_made_of_is_not_collected(done: Done, tmp_path: Path) -> None:
    alone = tmp_path / "exports" / "tiny"
    alone.mkdir(parents=True)
    shutil.copy2(done.file, alone)

    entries = inventory(Store(done.models), alone.parent)

    made = {digest[:16] for run in done.found.runs for digest in run.digests}
    kept = {entry.digest for entry in entries if entry.kept and entry.stage != "measurement"}
    assert kept == made
    assert sum(entry.kept for entry in entries) == len(made) + len(done.found.runs)


def test_what_another_process_makes_is_put_off_and_the_others_come_first(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "LOOK_AGAIN_SECONDS", 0.01)
    plan = plan_of(done.folder, SHORT, arms=("labels",), seeds=2)
    order = []

    with contextlib.ExitStack() as other:
        other.enter_context(lock.held(Store(done.models).lock(run_of(plan, "labels", 0).artifacts[-1]), print))
        for each in ended(plan.runs, done.models, Told()):
            order.append((each.run.seed, each.run.arm))
            if len(order) == 3:
                other.close()

    assert order == [(0, "base"), (1, "base"), (1, "labels"), (0, "labels")]


def test_a_stage_that_another_process_begins_meanwhile_puts_its_run_off_too(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the locks and the stage, seconds go by."""
    monkeypatch.setattr(runs_module, "LOOK_AGAIN_SECONDS", 0.01)
    plan, models = plan_of(done.folder, SHORT, arms=("labels",), seeds=1), tmp_path / "models"
    shutil.copytree(done.models, models)
    digest, other = run_of(plan, "labels", 0).digests[1], contextlib.ExitStack()
    shutil.rmtree(Store(models).folder(digest))

    class Begins(Told):
        def stage(self, label: str, index: int, total: int) -> None:
            super().stage(label, index, total)
            if len(self.stages) == 1:
                other.enter_context(lock.held(Store(models).lock(digest), print))

    told, looked = Begins(), list[float]()

    def sleep(seconds: float) -> None:
        looked.append(seconds)
        other.close()

    monkeypatch.setattr(time, "sleep", sleep)

    order = [each.run.arm for each in ended(plan.runs, models, told)]

    assert order == ["base", "labels"]
    assert looked == [0.01]
    assert told.epochs == ["seed 0, arm labels: distill"]


def test_a_disk_that_refuses_ends_all(done: Done, tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file")

    with pytest.raises(ArtifactError, match="exports: cannot be written"):
        ablate(done.plan, done.models, tmp_path / "exports", Told())


def test_status_tells_what_is_done_and_what_is_to_do_and_makes_nothing(done: Done, tmp_path: Path) -> None:
    before, wanted = sorted(done.models.iterdir()), run_of(done.plan, "labels", 1)
    more = plan_of(done.folder, SHORT, arms=("early-stop", "labels"), own=("data.image_size=16",), seeds=2)

    with lock.held(Store(done.models).lock(wanted.digests[1]), print):
        found = ablation_status(more, done.models)

    states = {(run.seed, run.arm): run.state for run in found.runs}
    details = {(run.seed, run.arm): run.detail for run in found.runs}
    to_do = {"early-stop": "to do", "data.image_size=16": "cannot be run"}
    wanted_states = {
        0: {"base": "done", "labels": "done", **to_do},
        1: {"base": "done", "labels": "under way", **to_do},
    }
    assert states == {(seed, arm): state for seed, arms in wanted_states.items() for arm, state in arms.items()}
    assert details[0, "early-stop"] == "1 of 3 stages done"
    assert details[1, "labels"].startswith("distill by pid ")
    assert found.done == 3
    assert found.seconds_left is not None
    assert found.seconds_left > 0
    assert sorted(done.models.iterdir()) == before


def command(folder: Path, *arguments: str) -> list[str]:
    places = ["--models", str(folder / "models"), "--exports", str(folder / "exports")]
    return ["edgekd", "pipeline", "ablate", str(folder / "small.yaml"), *places, *arguments]


def ran(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_command_draws_both_tables_and_names_the_page(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran(command(done.folder, "--arms", "labels", "--arm", IMPOSSIBLE, "--seeds", "2"), monkeypatch)

    out = capsys.readouterr().out
    assert code == 0
    assert "could not be run" in " ".join(out.split())
    assert "what each stage paid" in out
    assert out.splitlines()[-1].endswith("ablation.html")


def test_the_command_prints_nothing_but_json_for_a_machine(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran(command(done.folder, "--arms", "labels", "--arm", IMPOSSIBLE, "--seeds", "2", "--json"), monkeypatch)

    found = Ablation.model_validate_json(capsys.readouterr().out)
    assert code == 0
    assert without_times(found) == without_times(done.found)


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_the_command_shows_how_far_it_is(
    done: Done, json_: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran(command(done.folder, "--arms", "labels,early-stop", "--seeds", "1", "--status", *json_), monkeypatch)

    out = capsys.readouterr().out
    assert code == 0
    if json_:
        found = {run["arm"]: run["state"] for run in json.loads(out)["runs"]}
        assert found == {"base": "done", "labels": "done", "early-stop": "to do"}
    else:
        assert "2 of 3 runs done, about " in out


def test_a_mistake_in_the_command_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pipeline(tmp_path)

    code = ran(command(tmp_path, "--arms", "lables"), monkeypatch)

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("edgekd: --arms lables: there is no such arm; known: labels, scratch, ")
