"""The self-test on an emulated CPU; the emulator is a stand-in unless a real one is installed."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgekd.bundle.emulate import ARM64, EMULATORS, verify_emulated
from edgekd.cli import app
from edgekd.errors import BundleError


@pytest.fixture
def arm64(tmp_path: Path) -> Path:
    """A folder that looks as one with an arm64 Python does."""
    (tmp_path / "arm64" / "usr" / "bin").mkdir(parents=True)
    for name in ("python3.9", "python3.11", "python3.11-config"):
        (tmp_path / "arm64" / "usr" / "bin" / name).touch()
    return tmp_path / "arm64"


def emulator(folder: Path, body: str, patch: pytest.MonkeyPatch) -> None:
    """A program by the emulator's name, the only one on the path."""
    (folder / EMULATORS[0]).write_text(f"#!/bin/sh\n{body}\n")
    (folder / EMULATORS[0]).chmod(0o755)
    patch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.slow
def test_the_bundle_is_tested_by_edgekd_s_own_runner_in_the_emulated_python(
    pristine_bundle: Path, arm64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f'echo "$@" > {tmp_path}/said; shift 5; unset PYTHONHOME PYTHONPATH; exec {sys.executable} "$@"'
    emulator(tmp_path, here, monkeypatch)

    found = verify_emulated(pristine_bundle, "cortex-a72", arm64)

    said = (tmp_path / "said").read_text().split()
    assert said[:5] == ["-cpu", "cortex-a72", "-L", str(arm64), str(arm64 / "usr" / "bin" / "python3.11")]
    assert found["ok"]
    assert found["golden"]["same_top1"] == found["golden"]["images"] == 32
    assert found["machine"]["onnxruntime"]


def test_what_is_missing_is_told_with_how_to_get_it(
    arm64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match=r"qemu-aarch64-static: is not installed; apt install qemu-user-static"):
        verify_emulated(tmp_path, "cortex-a72", arm64)

    emulator(tmp_path, "exit 1", monkeypatch)
    with pytest.raises(BundleError, match=r"no_such: holds no arm64 Python .*; docs/emulated_arm\.md says how"):
        verify_emulated(tmp_path, "cortex-a72", tmp_path / "no_such")


@pytest.mark.slow
def test_an_emulator_that_fails_is_told_in_one_line(
    pristine_bundle: Path, arm64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator(tmp_path, "echo one >&2; echo 'no such CPU' >&2; exit 1", monkeypatch)

    with pytest.raises(BundleError, match=r"^nonsense: the emulated self-test failed \(no such CPU\); docs/"):
        verify_emulated(pristine_bundle, "nonsense", arm64)


@pytest.mark.slow
def test_a_damaged_bundle_is_not_run(
    bundle: Path, arm64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator(tmp_path, f"touch {tmp_path}/ran", monkeypatch)
    (bundle / "model.onnx").write_bytes(b"x")

    with pytest.raises(BundleError, match=r"model\.onnx: is truncated"):
        verify_emulated(bundle, "cortex-a72", arm64)

    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_real_emulator_gives_the_recorded_answers(pristine_bundle: Path) -> None:
    if not (ARM64.expanduser() / "usr").is_dir():
        pytest.skip(f"there is no arm64 Python in {ARM64} (docs/emulated_arm.md)")

    ended = CliRunner().invoke(app, ["verify", str(pristine_bundle), "--emulate", "cortex-a72", "--json"])

    assert json.loads(ended.stdout)["machine"]["isa"] == "arm64"
    assert ended.exit_code == 0
