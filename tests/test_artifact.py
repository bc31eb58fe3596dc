"""The store: digests, checksums, atomic folders, reloading."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgekd.artifact import Store, digest_of, load_model, load_tensors, save_model, save_tensors
from edgekd.errors import ArtifactError
from edgekd.pruning import prune
from edgekd.zoo import ModelSpec, build, example_images

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


def test_what_was_written_is_found_and_nothing_else() -> None:
    assert Store(Path("nowhere")).find(DIGEST) is None


def test_a_written_artifact_is_found_with_its_facts(tmp_path: Path) -> None:
    artifact = stored(tmp_path).find(DIGEST)

    assert artifact is not None
    assert artifact.digest == DIGEST
    assert artifact.manifest["note"] == "hello"
    assert (artifact.folder / "weights.bin").read_text() == "weights"


@pytest.mark.parametrize("file", ["weights.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_artifact_is_not_found_and_set_aside(tmp_path: Path, file: str, damage: str) -> None:
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
    assert not (tmp_path / DIGEST[:16]).exists()
    assert len(list(tmp_path.glob("*.set-aside-*/artifact"))) == 1


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    store, path = stored(tmp_path), tmp_path / DIGEST[:16] / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "note": "other"}))

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


def test_writing_again_replaces_and_keeps_the_old_one_aside(tmp_path: Path) -> None:
    stored(tmp_path, "first")
    store = stored(tmp_path, "second")

    artifact = store.find(DIGEST)

    assert artifact is not None
    assert (artifact.folder / "weights.bin").read_text() == "second"


def test_a_root_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(ArtifactError, match=r"cannot be written \(not a directory\)"),
        Store(tmp_path / "file" / "below").writing(DIGEST, {}),
    ):
        pass


def test_tensors_come_back_equal_and_a_broken_file_is_told(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor([1, 2])}
    save_tensors(tmp_path / "t.safetensors", tensors)
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)

    found = load_tensors(tmp_path / "t.safetensors")

    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    with pytest.raises(ArtifactError, match=r"broken\.safetensors: is no safetensors file"):
        load_tensors(tmp_path / "broken.safetensors")


def test_a_pruned_model_reloads_bit_equal_in_a_fresh_process_without_pickle(tmp_path: Path) -> None:
    spec = ModelSpec(name="mobilenet_v2", num_classes=5, in_channels=1, image_size=16)
    pruned = prune(build(spec).eval(), spec, 0.5, importance="l2", scope="layer", max_ratio=0.8, isa="arm64").model
    store = Store(tmp_path)
    manifest: dict[str, object] = {}
    with store.writing(DIGEST, manifest) as folder:
        manifest["model"] = save_model(folder, pruned, spec)
    code = (
        "import sys, torch, hashlib\n"
        "from pathlib import Path\n"
        "from edgekd.artifact import Store, load_model\n"
        "from edgekd.zoo import example_images\n"
        "model, spec = load_model(Store(Path(sys.argv[1])).find(sys.argv[2]))\n"
        "assert 'torch_pruning' not in sys.modules\n"
        "weights = b''.join(v.numpy().tobytes() for v in model.state_dict().values())\n"
        "print(hashlib.sha256(weights).hexdigest())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), DIGEST], capture_output=True, text=True, check=True
    )

    here = hashlib.sha256(b"".join(value.numpy().tobytes() for value in pruned.state_dict().values())).hexdigest()
    assert done.stdout.strip() == here
    assert {path.suffix for path in (tmp_path / DIGEST[:16]).iterdir()} == {".safetensors", ".json"}
    artifact = store.find(DIGEST)
    assert artifact is not None
    with torch.no_grad():
        assert torch.equal(load_model(artifact)[0](example_images(spec)), pruned(example_images(spec)))
