"""What lies in the store, what refers to it, and what is collected."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd import cli
from edgekd.errors import ArtifactError
from edgekd.pipeline.inventory import Entry, collect, inventory
from edgekd.stages.manifests import Measurements
from edgekd.store import lock
from edgekd.store.artifacts import Store, digest_of
from edgekd.training.checkpoint import Checkpoint, Checkpoints
from tests.made import nothing_exported

DIGESTS = {name: digest_of({"stage": name}) for name in ("teacher", "prune", "export", "measure", "other", "begun")}


def put(store: Store, name: str, *parents: str) -> None:
    digest = DIGESTS[name]
    of = {parent: DIGESTS[parent] for parent in parents}
    measured = Measurements(saturates=False, parents=of)
    made = measured if name == "measure" else nothing_exported(name, of)
    with store.writing(digest, made.model_dump()) as folder:
        (folder / "weights.bin").write_text(name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A teacher, pruned, exported, measured and shipped; another model; a training that was stopped."""
    store = Store(tmp_path / "models")
    put(store, "teacher")
    put(store, "prune", "teacher")
    put(store, "export", "prune")
    put(store, "measure", "export")
    put(store, "other", "teacher")
    Checkpoints(store.partial(DIGESTS["begun"])).save(7, Checkpoint({}, {"logs": [{}] * 7}))
    ship(tmp_path, "export")
    (store.root / "README.md").write_text("not edgekd's")
    return store


def ship(folder: Path, *names: str) -> None:
    shipped = folder / "exports" / "mine"
    shipped.mkdir(parents=True, exist_ok=True)
    (shipped / "report.json").write_text(json.dumps({"stages": [{"digest": DIGESTS[name]} for name in names]}))


def entries(store: Store) -> dict[str, Entry]:
    names = {digest[:16]: name for name, digest in DIGESTS.items()}
    found = inventory(store, store.root.parent / "exports")
    return {names.get(entry.path.name, entry.path.name): entry for entry in found}


def collected(store: Store) -> set[str]:
    names = {digest[:16]: name for name, digest in DIGESTS.items()}
    exports = store.root.parent / "exports"
    gone, _ = collect(inventory(store, exports), store, exports)
    return {names.get(entry.path.name, entry.path.name) for entry in gone}


BEGUN = f"{DIGESTS['begun'][:16]}.partial"


def test_everything_is_listed_with_its_room_and_who_refers_to_it(store: Store) -> None:
    found = entries(store)

    assert {name: entry.state for name, entry in found.items()} == {
        "teacher": "complete", "prune": "complete", "export": "complete", "measure": "complete", "other": "complete",
        BEGUN: "partial",
    }  # fmt: skip
    assert {name for name, entry in found.items() if entry.exports == ("mine",)} == {
        "teacher", "prune", "export", "measure",
    }  # fmt: skip
    assert found["measure"].stage == "measurement"
    assert found["teacher"].stage == "teacher"
    folder = store.folder(DIGESTS["teacher"])
    assert found["teacher"].size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert found[BEGUN].detail == "after epoch 7"


def test_what_nobody_ships_is_collected_and_the_rest_stays(store: Store) -> None:
    before = {path.name for path in store.root.iterdir()}

    gone = collected(store)

    assert gone == {"other", BEGUN}
    assert {path.name for path in store.root.iterdir()} == before - {DIGESTS["other"][:16], BEGUN}
    assert all(entry.kept for entry in entries(store).values())


def test_without_any_report_all_artifacts_go_and_nothing_that_is_not_edgekd_s(store: Store, tmp_path: Path) -> None:
    (tmp_path / "exports" / "mine" / "report.json").unlink()
    for name in (".git", "0123", "notes.txt"):
        (store.root / name).mkdir()
    (tmp_path / "exports" / ".settings-personal").mkdir()
    (tmp_path / "exports" / ".settings-personal" / "key").write_text("key")

    assert collected(store) == {"teacher", "prune", "export", "measure", "other", BEGUN}
    assert {path.name for path in store.root.iterdir()} == {"README.md", ".git", "0123", "notes.txt"}
    assert (tmp_path / "exports" / ".settings-personal" / "key").exists()


LEFT_OVER = [
    f".writing-{DIGESTS['export'][:16]}-k3_9xa0b",
    ".writing-k3_9xa0b",
    f".replaced-{DIGESTS['export'][:16]}-k3_9xa0b",
    f"{DIGESTS['export'][:16]}.set-aside-k3_9xa0b",
    f"{DIGESTS['export'][:16]}.partial",
]


@pytest.mark.parametrize("name", LEFT_OVER)
def test_what_killed_runs_left_is_never_whole_and_is_collected(store: Store, name: str) -> None:
    """Whole as it may look: of a shipped artifact even."""
    shutil.copytree(store.folder(DIGESTS["export"]), store.root / name)
    shutil.copytree(store.folder(DIGESTS["export"]), store.root / name / "artifact")

    assert entries(store)[name].state in ("left-over", "set aside", "partial")
    assert name in collected(store)
    assert not (store.root / name).exists()
    assert store.find(DIGESTS["export"]) is not None


@pytest.mark.parametrize("name", [".mine-k3_9xa0b", ".mine-old-k3_9xa0b", ".mine.lock"])
def test_what_killed_runs_left_beside_the_exports_is_collected(store: Store, tmp_path: Path, name: str) -> None:
    place = tmp_path / "exports" / name
    if name.endswith(".lock"):
        place.write_text("pid 1")
    else:
        (place / "old").mkdir(parents=True)
        (place / "old" / "report.json").write_text("{}")

    assert entries(store)[name].state == "left-over"
    assert name in collected(store)
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["mine"]


def test_locks_of_killed_runs_are_collected(store: Store) -> None:
    names = {f"{DIGESTS['teacher'][:16]}{suffix}" for suffix in (".lock", ".in-use")}
    for name in names:
        (store.root / name).write_text("pid 1")

    assert names < collected(store)
    assert store.find(DIGESTS["teacher"]) is not None
    assert not [path for path in store.root.iterdir() if path.name in names]


HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from edgekd.store.artifacts import Store\n"
    "store, how, digest = Store(Path(sys.argv[1])), *sys.argv[2:]\n"
    "with store.in_use([digest]) if how == 'in_use' else store.claimed(digest, print):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.mark.parametrize(("how", "what"), [("in_use", "other"), ("claimed", "other"), ("claimed", "begun")])
def test_what_a_live_run_uses_or_makes_stays(store: Store, how: str, what: str) -> None:
    left_over = store.root / f".writing-{DIGESTS[what][:16]}-k3_9xa0b"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root), how, DIGESTS[what]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "held\n"
        left_over.mkdir()

        assert all(entry.live for entry in entries(store).values() if entry.digest == DIGESTS[what][:16])
        assert collected(store) == {"other", BEGUN} - {what, f"{DIGESTS[what][:16]}.partial"}

        run.communicate("")
    assert left_over.name in collected(store)


def test_a_run_that_came_after_the_look_keeps_what_it_uses_and_ships(store: Store, tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    found = inventory(store, exports)
    ship(tmp_path, "export", "other")

    with lock.held(store.lock(DIGESTS["begun"]), print):
        gone, stays = collect(found, store, exports)

    assert gone == []
    assert {entry.digest for entry in stays} == {DIGESTS["other"][:16], DIGESTS["begun"][:16]}


def test_a_measurement_stays_while_a_run_uses_what_was_measured(store: Store, tmp_path: Path) -> None:
    ship(tmp_path)

    with store.in_use([DIGESTS["export"]]):
        assert "measure" not in collected(store)
    assert "measure" in collected(store)


def test_a_damaged_artifact_is_listed_and_collected_unless_it_is_shipped(store: Store) -> None:
    for name in ("teacher", "other"):
        (store.folder(DIGESTS[name]) / "weights.bin").write_text("broken")

    found = entries(store)

    assert {name for name, entry in found.items() if entry.state == "damaged"} == {"teacher", "other"}
    assert found["other"].detail == "weights.bin is not as it was written"
    assert {"other"} == collected(store) - {BEGUN}


def test_a_report_that_cannot_be_read_stops_the_collection(store: Store, tmp_path: Path) -> None:
    (tmp_path / "exports" / "mine" / "report.json").write_text("{")

    with pytest.raises(ArtifactError, match=r"report.json: is not a report of edgekd; run its pipeline again"):
        inventory(store, tmp_path / "exports")


@pytest.mark.parametrize("missing", ["models", "exports"])
def test_a_folder_that_is_not_there_is_told_and_nothing_is_collected(
    store: Store, tmp_path: Path, missing: str
) -> None:
    places = {"models": store.root, "exports": tmp_path / "exports", missing: tmp_path / "nowhere"}

    with pytest.raises(ArtifactError, match="nowhere: there is no such folder; name it with --models and --exports"):
        inventory(Store(places["models"]), places["exports"])


@pytest.fixture
def edgekd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs ``edgekd store`` in the folder of models/ and exports/; gives what it shows."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["edgekd", "store", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run


@pytest.mark.usefixtures("store")
def test_the_list_names_state_and_exports(edgekd: Callable[..., str]) -> None:
    lines = {line.split()[0]: line for line in edgekd("list").splitlines()}

    assert "complete  teacher" in lines[DIGESTS["teacher"][:16]]
    assert "mine" in lines[DIGESTS["teacher"][:16]]
    assert "mine" not in lines[DIGESTS["other"][:16]]
    assert "after epoch 7" in lines[BEGUN]
    plain = {entry["name"]: entry for entry in json.loads(edgekd("list", "--json"))}
    assert plain[DIGESTS["prune"][:16]]["exports"] == ["mine"]
    assert {name for name, entry in plain.items() if not entry["kept"]} == {DIGESTS["other"][:16], BEGUN}


def test_collecting_is_a_dry_run_unless_told_otherwise(store: Store, edgekd: Callable[..., str]) -> None:
    before = sorted(store.root.rglob("*"))

    out = edgekd("gc")

    assert "dry run, nothing is deleted; --delete would delete 2, " in out
    assert sorted(store.root.rglob("*")) == before
    assert "deleted: 2, " in edgekd("gc", "--delete")
    assert store.find(DIGESTS["other"]) is None
    assert "would delete 0, 0.0 kB" in edgekd("gc")
