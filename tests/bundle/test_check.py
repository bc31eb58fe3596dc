"""Verify and predict: what was changed is named, nothing points outside, and torch is not needed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd.bundle.bench import named_files
from edgekd.bundle.check import checked, predict, trusted_model, verify
from edgekd.errors import BundleError, ExportError
from edgekd.ondevice.contents import MANIFEST, is_inside, sealed
from tests.hostile import external_onnx


def reseal(bundle: Path, **changes: Any) -> None:
    """Change a manifest as an enemy would who knows how it is sealed."""
    body = json.loads((bundle / MANIFEST).read_text())
    del body["digest"]
    (bundle / MANIFEST).write_text(sealed({**body, **changes}))


@pytest.mark.slow
def test_a_bundle_as_it_was_written_passes(pristine_bundle: Path) -> None:
    found = verify(pristine_bundle)

    assert found["ok"]
    assert found["problems"] == []
    assert found["golden"]["same_top1"] == found["golden"]["images"] == 32
    assert found["golden"]["max_difference"] <= found["golden"]["tolerance"]


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(bundle: Path) -> None:
    names = sorted(path.name for path in bundle.iterdir())
    random = np.random.default_rng(0)

    assert len(names) == 11
    for name in names:
        whole = (bundle / name).read_bytes()
        for place in (0, len(whole) - 1, int(random.integers(len(whole)))):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(random.integers(8))
            (bundle / name).write_bytes(changed)
            told = told_by_verify(bundle)
            assert name in told, (name, place)
        (bundle / name).write_bytes(whole)
    assert verify(bundle)["ok"]


def told_by_verify(bundle: Path) -> str:
    """What is said of a bundle that is not whole."""
    try:
        found = verify(bundle)
    except BundleError as error:
        return str(error)
    assert not found["ok"]
    assert found["golden"] is None
    return "\n".join(found["problems"])


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "report.html", "predictions.npz", "manifest.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()

    assert name in told_by_verify(bundle)


def test_a_truncated_file_is_told_with_both_sizes(bundle: Path) -> None:
    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole[:1000])

    assert told_by_verify(bundle) == f"model.onnx: is truncated: 1000 bytes, the manifest says {len(whole)}"


def test_swapped_files_are_told_as_such(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle / "apart")
    (bundle / "teacher.onnx").rename(bundle / "model.onnx")
    (bundle / "apart").rename(bundle / "teacher.onnx")

    assert told_by_verify(bundle).splitlines() == [
        "model.onnx: was swapped: it holds teacher.onnx",
        "teacher.onnx: was swapped: it holds model.onnx",
    ]


def test_a_link_in_place_of_a_file_is_refused_whatever_it_leads_to(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "labels.txt", tmp_path / "elsewhere.txt")
    (bundle / "labels.txt").symlink_to(tmp_path / "elsewhere.txt")

    assert told_by_verify(bundle) == "labels.txt: is not a regular file"


def test_a_fifo_in_place_of_a_file_does_not_hang(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()
    os.mkfifo(bundle / "labels.txt")

    assert told_by_verify(bundle) == "labels.txt: is not a regular file"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", "", ".", "a//b", "x\n"])
def test_nothing_in_a_manifest_points_outside(bundle: Path, name: str) -> None:
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    reseal(bundle, files={**files, name: files["labels.txt"]})

    with pytest.raises(BundleError, match="which is not a file of the bundle"):
        verify(bundle)


def test_every_model_that_a_manifest_names_is_one_of_its_files(bundle: Path) -> None:
    reseal(bundle, models=[{"id": "qat", "file": "../../secret.onnx", "precision": "int8"}])

    with pytest.raises(BundleError, match=r"names '../../secret\.onnx', which is not one of its files"):
        checked(bundle)


def test_a_manifest_from_the_future_is_told_as_such(bundle: Path) -> None:
    reseal(bundle, format=2, files="of another kind")

    with pytest.raises(BundleError, match=r"has format 2, newer than 1, which is known here; update edgekd"):
        verify(bundle)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "1"}', "[" * 100_000, '{"format": 1e999}', "\x00"]
)
def test_what_is_no_manifest_is_refused_in_one_line(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)

    with pytest.raises(BundleError) as caught:
        verify(bundle)

    assert "\n" not in str(caught.value)
    assert MANIFEST in str(caught.value)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json; name a folder below exports/"):
        verify(tmp_path)


def test_other_golden_answers_are_told_though_every_checksum_holds(bundle: Path) -> None:
    """Whoever changes the model and the manifest together is found by the model's answers."""
    teacher = json.loads((bundle / MANIFEST).read_text())["files"]["teacher.onnx"]
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    shutil.copy(bundle / "teacher.onnx", bundle / "model.onnx")
    reseal(bundle, files={**files, "model.onnx": {**teacher, "device": True}}, golden={"tolerance": 1e-4})

    found = verify(bundle)

    assert not found["ok"]
    assert "logits differ from the recorded ones by up to" in found["problems"][-1]


def test_a_model_that_would_open_other_files_is_refused_though_every_checksum_holds(bundle: Path) -> None:
    model = external_onnx("../../secret.bin", hidden=False)
    (bundle / "model.onnx").write_bytes(model)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    about = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model), "device": True}
    reseal(bundle, files={**files, "model.onnx": about})

    asked = (verify, lambda folder: predict(folder, []), lambda folder: named_files([folder]).__enter__())
    for ask in asked:
        with pytest.raises(ExportError, match=r"keeps the weight 'w' in another file"):
            ask(bundle)


def test_the_model_that_ships_is_looked_into_even_where_the_manifest_lists_none(bundle: Path) -> None:
    model = external_onnx("../../secret.bin", hidden=False)
    (bundle / "model.onnx").write_bytes(model)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    about = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model), "device": True}
    reseal(bundle, files={**files, "model.onnx": about}, models=[])

    with pytest.raises(ExportError, match=r"keeps the weight 'w' in another file"):
        verify(bundle)


def test_a_model_that_is_swapped_after_the_check_is_not_opened(bundle: Path) -> None:
    manifest = checked(bundle)
    shutil.copy(bundle / "teacher.onnx", bundle / "model.onnx")

    with pytest.raises(BundleError, match=r"model\.onnx: was changed while the bundle was read"):
        trusted_model(bundle, manifest)


def test_what_is_measured_is_what_was_checked(bundle: Path) -> None:
    """The files that other processes open are private copies, whatever lies in the bundle by then."""
    whole = (bundle / "model.onnx").read_bytes()

    with named_files([bundle, bundle / "teacher.onnx"]) as files:
        (bundle / "model.onnx").write_bytes(b"something else")
        assert [(name, path.name) for name, path in files] == [
            (f"{checked_name(bundle)}/qat", "model.onnx"),
            ("teacher.onnx", "teacher.onnx"),
        ]
        assert files[0][1].read_bytes() == whole
    assert not files[0][1].exists()


def checked_name(bundle: Path) -> str:
    return str(json.loads((bundle / MANIFEST).read_text())["name"])


def test_a_model_that_needs_a_newer_runtime_is_told_with_the_command(bundle: Path) -> None:
    reseal(bundle, onnxruntime_min="99.0")

    assert "the model needs 99.0; python3 -m pip install 'onnxruntime>=99.0'" in told_by_verify_of_version(bundle)


def told_by_verify_of_version(bundle: Path) -> str:
    return "\n".join(verify(bundle)["problems"])


def test_a_picture_of_any_size_is_classified_as_its_pixels_are(bundle: Path, tmp_path: Path) -> None:
    """A golden image, saved as PNG, gets the class of its recorded logits; enlarged, still a sum of 1."""
    golden = np.load(bundle / "golden.npz")
    Image.fromarray(golden["images"][0, ..., 0]).save(tmp_path / "digit.png")
    Image.fromarray(golden["images"][0, ..., 0]).resize((80, 50)).convert("RGB").save(tmp_path / "large.jpg")

    small, large = predict(bundle, [tmp_path / "digit.png", tmp_path / "large.jpg"], top=10)

    logits = golden["logits"][0]
    shares = np.exp(logits) / np.exp(logits).sum()
    assert small["classes"][0]["name"] == str(logits.argmax())
    assert small["classes"][0]["probability"] == pytest.approx(shares.max(), abs=0.02)
    assert sum(item["probability"] for item in large["classes"]) == pytest.approx(1, abs=1e-4)


def test_what_is_no_picture_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")

    with pytest.raises(BundleError, match=r"text\.png: cannot be read as an image"):
        predict(bundle, [tmp_path / "text.png"])


@pytest.mark.slow
def test_verify_and_predict_need_no_torch(bundle: Path, tmp_path: Path) -> None:
    """A module named torch that cannot be imported stands in its place."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    golden = np.load(bundle / "golden.npz")
    Image.fromarray(golden["images"][0, ..., 0]).save(tmp_path / "digit.png")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from edgekd.cli import main; main()"

    picture, model = tmp_path / "digit.png", bundle / "model.onnx"
    for arguments in (("verify", bundle), ("predict", bundle, picture), ("bench", model)):
        ended = subprocess.run(
            [sys.executable, "-c", program, tmp_path, *arguments], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_names_inside_are_told_from_those_outside() -> None:
    assert all(map(is_inside, ["a", "a/b", "a.b-c_d", ".hidden", "日本"]))
    assert not any(map(is_inside, ["..", "a/..", "./a", "a/", "/a", "a\x00b", "\x1b[2J"]))
