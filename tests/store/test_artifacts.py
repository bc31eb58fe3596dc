"""The store: digests, checksums, atomic folders, reloading."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekd.errors import ArtifactError, BusyError
from edgekd.pruning.criteria import L2
from edgekd.pruning.prune import prune
from edgekd.store import folder as folder_module
from edgekd.store.artifacts import Store, digest_of
from edgekd.store.disk import disk_errors
from edgekd.store.folder import put_in_place, written_beside
from edgekd.store.tensors import load_tensors, save_tensors
from edgekd.zoo import ModelSpec, build, widths
from tests.made import loaded, stored_model

DIGEST = digest_of({"stage": "test"})


def stored(root: Path, text: str = "weights") -> Store:
    store = Store(root)
    with store.writing(DIGEST, {"note": "hello"}) as folder:
        (folder / "weights.bin").write_text(text)
    return store


def test_the_digest_is_sha256_of_sorted_json_with_the_format() -> None:
    by_hand = hashlib.sha256(b'{"a":1,"b":[2,3],"format":1}').hexdigest()

    assert digest_of({"b": [2, 3], "a": 1}) == digest_of({"a": 1, "b": [2, 3]}) == by_hand
    assert digest_of({"a": 1, "b": [3, 2]}) != by_hand


def test_the_order_of_inner_keys_and_letters_beyond_ascii_change_no_digest() -> None:
    by_hand = hashlib.sha256(b'{"format":1,"x":{"a":[{"c":null,"d":true}],"b":0.5},"\\u00e9":"\\u4e2d"}').hexdigest()

    assert digest_of({"é": "中", "x": {"b": 0.5, "a": [{"d": True, "c": None}]}}) == by_hand


def test_the_digest_changes_with_anything() -> None:
    facts: dict[str, Any] = {"stage": "distill", "settings": {"alpha": 0.1, "parts": [1, 2]}, "seed": 0}
    others: list[dict[str, Any]] = [
        {**facts, "seed": 1},
        {**facts, "seed": "0"},
        {**facts, "seed": None},
        {**facts, "note": ""},
        {key: value for key, value in facts.items() if key != "seed"},
        {**facts, "settings": {"alpha": 0.1 + 2**-53, "parts": [1, 2]}},
        {**facts, "settings": {"alpha": 0.1, "parts": [2, 1]}},
        {**facts, "settings": {"alpha": 0.1, "part": [1, 2]}},
        {**facts["settings"], "stage": "distill", "seed": 0},
    ]

    found = {digest_of(each) for each in (facts, *others)}

    assert len(found) == 1 + len(others)
    with pytest.raises(ValueError, match="Out of range float"):
        digest_of({"alpha": float("nan")})


def test_nothing_is_found_where_nothing_was_written(tmp_path: Path) -> None:
    store = stored(tmp_path)

    assert Store(Path("nowhere")).find(DIGEST) is None
    assert store.find(digest_of({"stage": "other"})) is None


def test_a_written_artifact_is_found_with_its_facts(tmp_path: Path) -> None:
    artifact = stored(tmp_path).find(DIGEST)

    assert artifact is not None
    assert artifact.digest == DIGEST
    assert artifact.manifest["note"] == "hello"
    assert (artifact.folder / "weights.bin").read_text() == "weights"


def test_an_artifact_of_an_older_store_is_whole(tmp_path: Path) -> None:
    """As it was written before the store shared its folders with cache and bundle."""
    files = {"sub/b": "b", "weights.bin": "weights"}
    digest = "069545bea4ef3ea82bc4a9ae5d59041e8ac1508c92f4b77243899b22cf729f0b"
    assert digest == DIGEST
    (tmp_path / digest[:16] / "sub").mkdir(parents=True)
    about = {
        name: {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in files.items()
    }
    seal = "42c53613989623f5eaddb2f1417dc79bfa308eb06d7472c5612c73fe47648228"
    body = {"digest": digest, "files": about, "format": 1, "note": "hello", "sha256": seal}
    for name, text in {**files, "manifest.json": json.dumps(body, indent=1)}.items():
        (tmp_path / digest[:16] / name).write_text(text, encoding="utf-8")

    found = Store(tmp_path).find(digest)

    assert found is not None
    assert (found.manifest["note"], found.read("sub/b")) == ("hello", b"b")


def claim(store: Store) -> tuple[bool, list[str]]:
    """Is the artifact there for a run that wants to make it, and what is the run told?"""
    notes: list[str] = []
    with store.claimed(DIGEST, notes.append) as found:
        return found is not None, notes


def test_who_does_not_want_to_wait_for_another_run_is_told_so_and_has_touched_nothing(tmp_path: Path) -> None:
    store, notes = Store(tmp_path), list[str]()

    with (
        store.claimed(DIGEST, notes.append, waits=False) as found,
        pytest.raises(BusyError, match=r"another run is making this \(pid \d+\)"),
        store.claimed(DIGEST, notes.append, waits=False),
    ):
        raise AssertionError("two runs make one artifact")

    assert found is None
    assert notes == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["weights.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_artifact_is_not_found_and_set_aside_with_a_word(tmp_path: Path, file: str, damage: str) -> None:
    store = stored(tmp_path)
    path = tmp_path / DIGEST[:16] / file
    whole = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        middle = len(whole) // 2
        path.write_bytes(
            whole[:middle] + (bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if damage == "flip" else b"")
        )

    assert store.find(DIGEST) is None
    assert path.parent.exists()  # looking changes nothing
    found, notes = claim(store)

    assert not found
    assert not (tmp_path / DIGEST[:16]).exists()
    (aside,) = tmp_path.glob("*.set-aside-*/artifact")
    reason = f"{file} is missing" if damage == "remove" else f"{file} is not as it was written"
    assert notes == [f"artifact {DIGEST[:16]} is damaged ({reason}): set aside as {aside.parent.name}, made again"]
    other = "manifest.json" if file == "weights.bin" else "weights.bin"
    assert (aside / other).stat().st_size > 0
    assert (aside / file).exists() == (damage != "remove")


def test_a_whole_artifact_is_handed_to_who_wants_to_make_it(tmp_path: Path) -> None:
    assert claim(stored(tmp_path)) == (True, [])
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST[:16]]


@pytest.mark.parametrize("file", ["weights.bin", "manifest.json"])
def test_a_flip_of_any_bit_is_noticed(tmp_path: Path, file: str) -> None:
    store, path = stored(tmp_path), tmp_path / DIGEST[:16] / file
    whole = path.read_bytes()

    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
            assert store.find(DIGEST) is None, (place, bit)
    path.write_bytes(whole)
    assert store.find(DIGEST) is not None


def test_a_manifest_that_says_the_same_in_other_letters_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(DIGEST, {"small": 1e-09}):
        pass
    path = tmp_path / DIGEST[:16] / "manifest.json"
    path.write_text(path.read_text().replace("1e-09", "1E-09"))

    assert store.damage(DIGEST) == "manifest.json is not as it was written"


def sealed_with(root: Path, files: dict[str, Any]) -> Store:
    """An artifact whose manifest has the right checksum and lists what an attacker wants."""
    folder = root / DIGEST[:16]
    folder.mkdir()
    body = {"digest": DIGEST, "format": 1, "files": files}
    seal = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**body, "sha256": seal}, indent=1, sort_keys=True))
    return Store(root)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    about = {"sha256": hashlib.sha256(b"secret").hexdigest(), "bytes": 6}

    store = sealed_with(tmp_path, {name: about})

    assert store.damage(DIGEST) == f"{name} leads out of the folder"


@pytest.mark.parametrize("files", [{"a": 1}, {"a": {}}, [], None])
def test_a_manifest_without_a_list_of_files_is_damaged(tmp_path: Path, files: Any) -> None:
    (tmp_path / DIGEST[:16]).parent.mkdir(exist_ok=True)
    store = sealed_with(tmp_path, files)
    (tmp_path / DIGEST[:16] / "a").write_text("a")

    assert store.damage(DIGEST) == "manifest.json has no list of files"


@pytest.mark.parametrize("link", ["weights.bin", "manifest.json", "further", "."])
def test_a_symbolic_link_in_an_artifact_is_refused(tmp_path: Path, link: str) -> None:
    store, folder = stored(tmp_path / "store"), tmp_path / "store" / DIGEST[:16]
    elsewhere = tmp_path / "elsewhere"
    if (folder / link).exists():
        (folder / link).rename(elsewhere)
    (folder / link).symlink_to(elsewhere)

    assert store.damage(DIGEST) == "it holds a symbolic link"
    assert store.find(DIGEST) is None
    assert claim(store)[0] is False
    assert not elsewhere.exists() or elsewhere.stat().st_size > 0


def test_a_pipe_in_a_file_s_place_is_damage_and_nobody_waits_for_it(tmp_path: Path) -> None:
    store, path = stored(tmp_path), tmp_path / DIGEST[:16] / "weights.bin"
    path.unlink()
    os.mkfifo(path)

    assert store.damage(DIGEST) == "weights.bin is not a regular file"


def test_only_what_the_manifest_lists_is_read_and_only_as_it_was_written(tmp_path: Path) -> None:
    artifact = stored(tmp_path).find(DIGEST)
    assert artifact is not None
    (artifact.folder / "planted.safetensors").write_bytes(b"planted")

    assert artifact.read("weights.bin") == b"weights"
    for name in ("planted.safetensors", "../other", "manifest.json"):
        with pytest.raises(ArtifactError, match="is not in its manifest's list"):
            load_tensors(artifact, name)
    (artifact.folder / "weights.bin").write_bytes(b"weightz")
    with pytest.raises(ArtifactError, match=r"weights.bin: is damaged .*; run again: the artifact is set aside"):
        artifact.path("weights.bin")


@pytest.mark.usefixtures("unprivileged")
def test_an_artifact_that_may_not_be_read_is_told_and_stays_where_it_is() -> None:
    with tempfile.TemporaryDirectory() as place:
        store = stored(Path(place))
        (Path(place) / DIGEST[:16] / "weights.bin").chmod(0)

        with pytest.raises(ArtifactError, match=r"weights.bin: cannot be read \(permission denied\); check its perm"):
            store.find(DIGEST)
        with pytest.raises(ArtifactError, match="cannot be read"):
            claim(store)

        (Path(place) / DIGEST[:16] / "weights.bin").chmod(0o644)
        assert store.find(DIGEST) is not None


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_folder_takes_another_s_place(tmp_path: Path, can_swap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_swap:
        monkeypatch.setattr(folder_module, "_swapped", lambda *_: False)
    for text in ("first", "second"):
        (tmp_path / "beside").mkdir()
        (tmp_path / "beside" / "text").write_text(text)
        put_in_place(tmp_path / "beside", tmp_path / "final")

    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert (tmp_path / "final" / "text").read_text() == "second"


@pytest.mark.parametrize("when", ["before both", "between both", "after both"])
def test_an_interrupt_at_any_rename_is_the_reason_that_is_given_and_one_folder_is_whole(
    tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("beside", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(name)
    rename, done = Path.rename, {"before both": 0, "between both": 1, "after both": 2}[when]

    def interrupted(path: Path, target: Path) -> None:
        nonlocal done
        done -= 1
        if done >= 0:
            rename(path, target)
        if done <= 0:
            done = 100
            raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "_swapped", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)

    with pytest.raises(KeyboardInterrupt):
        put_in_place(tmp_path / "beside", tmp_path / "final")
    assert (tmp_path / "final" / "text").read_text() == ("beside" if when == "after both" else "final")
    assert {path.name for path in tmp_path.iterdir()} <= {"beside", "final"}


@pytest.mark.parametrize("before", ["nothing", "a folder", "a folder, and no swap"])
def test_files_are_on_the_disk_before_they_get_their_name_and_the_name_is_before_the_old_files_go(
    tmp_path: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut does cannot be tried out: the order of the system's calls is looked at."""
    final, synced = tmp_path / "final", []
    if before != "nothing":
        with written_beside(final, ".new-") as folder:
            (folder / "old").write_text("old")
    if before == "a folder, and no swap":
        monkeypatch.setattr(folder_module, "_swapped", lambda *_: False)
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (final / "weights").exists(), olds()))

    def olds() -> int:
        return len(list(tmp_path.rglob("old/old")) or list(tmp_path.rglob("old")))

    monkeypatch.setattr(os, "fsync", noted)
    with written_beside(final, ".new-") as folder:
        (folder / "weights").write_text("new")
        (folder / "below").mkdir()
        (folder / "below" / "more").write_text("new")
        beside = str(folder)

    kept = int(before != "nothing")
    first = [f"{beside}{name}" for name in ("", "/below", "/below/more", "/weights")]
    assert sorted(synced[:-1]) == [(place, False, kept) for place in first]
    assert synced[-1] == (str(tmp_path), True, kept)


def test_a_disk_that_fails_while_it_is_synced_is_one_line_and_nothing_gets_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)

    with pytest.raises(ArtifactError, match=r"cannot be written \(input/output error\)"):
        stored(tmp_path, "first")
    assert list(tmp_path.iterdir()) == []


def test_killed_between_two_renames_both_folders_are_whole_beside(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edgekd.store import artifacts, folder\n"
        "folder._swapped = lambda *_: False\n"
        "rename, seen = Path.rename, []\n"
        "def killed(path, to):\n"
        "    rename(path, to)\n"
        "    os._exit(9)\n"
        "Path.rename = killed\n"
        "with artifacts.Store(Path(sys.argv[1])).writing(sys.argv[2], {}) as folder:\n"
        "    (folder / 'weights.bin').write_text('second')\n"
    )
    store = stored(tmp_path, "first")

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), DIGEST], capture_output=True)

    assert done.returncode == 9
    assert store.find(DIGEST) is None
    assert {path.read_text() for path in tmp_path.rglob("weights.bin")} == {"first", "second"}
    assert claim(store) == (False, [])
    assert list(tmp_path.iterdir()) == []  # the next run that makes it clears what was left


EDITS: dict[str, dict[str, Any]] = {
    "another fact": {"note": "other"},
    "a further fact": {"more": 1},
    "another digest": {"digest": digest_of({"stage": "other"})},
    "another format": {"format": 2},
    "no files": {"files": {}},
    "another seal": {"sha256": "0" * 64},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_manifest_is_noticed(tmp_path: Path, edit: dict[str, Any]) -> None:
    store, path = stored(tmp_path), tmp_path / DIGEST[:16] / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, **edit}))

    assert store.find(DIGEST) is None
    assert claim(store)[0] is False
    assert len(list(tmp_path.glob("*.set-aside-*/artifact/manifest.json"))) == 1


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"sha256": 1}', "[" * 100_000, "\x00"])
def test_what_is_no_manifest_at_all_is_noticed(tmp_path: Path, text: str) -> None:
    store = stored(tmp_path)
    (tmp_path / DIGEST[:16] / "manifest.json").write_text(text)

    assert store.find(DIGEST) is None


def test_an_artifact_under_another_s_name_is_not_taken_for_it(tmp_path: Path) -> None:
    store, other = stored(tmp_path), digest_of({"stage": "other"})
    (tmp_path / DIGEST[:16]).rename(tmp_path / other[:16])

    assert store.find(other) is None
    assert store.find(DIGEST) is None


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def interrupted() -> None:
        with store.writing(DIGEST, {}) as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_second_write_leaves_the_first_in_place(tmp_path: Path) -> None:
    store = stored(tmp_path, "first")

    with pytest.raises(KeyboardInterrupt), store.writing(DIGEST, {}):
        raise KeyboardInterrupt

    artifact = store.find(DIGEST)
    assert artifact is not None
    assert (artifact.folder / "weights.bin").read_text() == "first"


def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edgekd.store.artifacts import Store\n"
        "with Store(Path(sys.argv[1])).writing(sys.argv[2], {}) as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os._exit(9)\n"
    )

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), DIGEST], capture_output=True)

    assert done.returncode == 9
    assert not (tmp_path / DIGEST[:16]).exists()
    assert Store(tmp_path).find(DIGEST) is None
    assert stored(tmp_path).find(DIGEST) is not None


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    stored(tmp_path, "first")
    store = stored(tmp_path, "second")

    artifact = store.find(DIGEST)

    assert artifact is not None
    assert (artifact.folder / "weights.bin").read_text() == "second"
    assert list(tmp_path.iterdir()) == [artifact.folder]


@pytest.mark.parametrize(
    ("below", "reason"), [("file", "file exists"), ("file/below", "not a directory"), ("n" * 300, "file name too long")]
)
def test_a_root_that_cannot_be_made_is_told_in_one_line(tmp_path: Path, below: str, reason: str) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ArtifactError) as caught, Store(tmp_path / below).writing(DIGEST, {}):
        pass

    assert str(caught.value).endswith(f"cannot be written ({reason}); check room and permissions")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that anybody may enter and only root may write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


@pytest.mark.usefixtures("unprivileged")
def test_a_root_that_is_read_only_is_told_in_one_line(read_only: Path) -> None:

    with pytest.raises(ArtifactError, match="permission denied"), Store(read_only).writing(DIGEST, {}):
        pass


def test_tensors_come_back_equal_and_a_broken_file_is_told(tmp_path: Path) -> None:
    tensors, store = {"a": torch.randn(3, 4).T, "b": torch.tensor([1, 2])}, Store(tmp_path)
    with store.writing(DIGEST, {}) as folder:
        save_tensors(folder / "t.safetensors", tensors)
        (folder / "broken.safetensors").write_bytes(b"\xff" * 100)
    artifact = store.find(DIGEST)
    assert artifact is not None

    found = load_tensors(artifact, "t.safetensors")

    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    with pytest.raises(ArtifactError, match=r"broken\.safetensors: is not a safetensors file"):
        load_tensors(artifact, "broken.safetensors")


@pytest.mark.slow
def test_a_pruned_model_reloads_bit_equal_in_a_fresh_process_without_pickle(tmp_path: Path) -> None:
    spec = ModelSpec(name="mobilenet_v2", num_classes=5, in_channels=1, image_size=16)
    pruned = prune(build(spec).eval(), spec, 0.5, importance=L2(), scope="layer", max_ratio=0.8, isa="arm64").model
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    pruned.train()(images)  # so that the batch norms' statistics are not those of a fresh network
    pruned.eval()
    store = Store(tmp_path)
    artifact = stored_model(store, DIGEST, pruned, spec)
    code = (
        "import sys, torch, hashlib\n"
        "from pathlib import Path\n"
        "from edgekd.store.artifacts import Store\n"
        "from edgekd.stages.manifests import FloatModel, manifest_of\n"
        "torch.set_num_threads(1)\n"
        "artifact = Store(Path(sys.argv[1])).find(sys.argv[2])\n"
        "model = manifest_of(artifact, FloatModel).load(artifact)\n"
        "assert 'torch_pruning' not in sys.modules\n"
        "images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))\n"
        "with torch.no_grad():\n"
        "    found = [*model.state_dict().values(), model(images)]\n"
        "print(hashlib.sha256(b''.join(tensor.numpy().tobytes() for tensor in found)).hexdigest())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), DIGEST], capture_output=True, text=True, check=True
    )

    with torch.no_grad():
        here = [*pruned.state_dict().values(), pruned(images)]
    assert done.stdout.strip() == hashlib.sha256(b"".join(value.numpy().tobytes() for value in here)).hexdigest()
    assert {path.name for path in (tmp_path / DIGEST[:16]).iterdir()} == {"weights.safetensors", "manifest.json"}
    model, found = loaded(artifact)
    assert found == spec
    assert not model.training
    assert widths(model) == widths(pruned)


def test_tensors_that_the_disk_refuses_are_one_line(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ArtifactError, match=r"w.safetensors: cannot be written .*too large.*check room"):
            save_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_read_while_an_artifact_is_written_is_not_called_unwritable(tmp_path: Path) -> None:
    missing, full = tmp_path / "images" / "cat.png", OSError(errno.ENOSPC, "No space left on device")

    writing = tmp_path / "models" / "writing"
    with pytest.raises(ArtifactError, match=r"cat.png: cannot be read \(no such file"), disk_errors(writing):
        missing.read_bytes()
    with pytest.raises(ArtifactError, match=r"writing: cannot be written \(no space left"), disk_errors(writing):
        raise full
