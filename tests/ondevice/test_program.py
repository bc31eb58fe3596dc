"""The runner where it runs: in Pythons that hold no more than a device needs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.bundle.write import ON_DEVICE
from edgekd.ondevice.contents import sha256_of
from edgekd.ondevice.fields import MANIFEST
from edgekd.ondevice.limits import MOST_BATCH, MOST_THREADS

pytestmark = pytest.mark.slow


@pytest.fixture(params=["newest_device", "oldest_device"])
def python(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def device(pristine_bundle: Path, tmp_path: Path) -> Path:
    """What goes to a device, and nothing else."""
    folder = tmp_path / "device"
    folder.mkdir()
    for name in (*ON_DEVICE, MANIFEST):
        shutil.copy(pristine_bundle / name, folder / name)
    return folder


def ran(python: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The runner with arguments, isolated from whatever else is on the machine."""
    command = [python, "-I", folder / "edgekd_run.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_the_self_test_passes(python: Path, device: Path) -> None:
    ended = ran(python, device, "--selftest", "--json")

    found = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert found["ok"]
    assert found["golden"]["same_top1"] == 32
    assert found["machine"]["onnxruntime"] >= "1.18"


def test_the_self_test_fails_with_exit_code_1_on_another_model(python: Path, device: Path) -> None:
    (device / "model.onnx").write_bytes(b"x" * 100)

    ended = ran(python, device, "--selftest")

    assert ended.returncode == 1
    assert "model.onnx: is truncated: 100 bytes" in ended.stdout


def test_the_bench_gives_figures_of_every_file(python: Path, device: Path) -> None:
    ended = ran(python, device, "--bench", device / "model.onnx", device / "model.onnx", "--json")

    found = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert [about["file"] for about in found["files"]] == ["model.onnx", "model.onnx"]
    assert all(0 < about["latency_ms"]["p50"] <= about["latency_ms"]["p99"] for about in found["files"])
    assert found["files"][1]["ci95"][0] < found["files"][1]["ratio"] < found["files"][1]["ci95"][1]
    assert all(about["peak_rss_bytes"] > 1_000_000 for about in found["files"])
    assert {about["sha256"] for about in found["files"]} == {sha256_of(device / "model.onnx")}
    assert not list(device.glob("__pycache__"))


def test_the_bench_in_words_names_the_machine(newest_device: Path, device: Path) -> None:
    ended = ran(newest_device, device, "--bench")

    assert "ONNX Runtime" in ended.stdout.splitlines()[0]
    assert "model.onnx" in ended.stdout


def test_a_picture_is_classified(oldest_device: Path, device: Path, tmp_path: Path) -> None:
    golden = np.load(device / "golden.npz")
    Image.fromarray(golden["images"][3, ..., 0]).save(tmp_path / "digit.png")

    ended = ran(oldest_device, device, tmp_path / "digit.png", "--top", "1", "--json")

    assert json.loads(ended.stdout)["classes"][0]["name"] == str(golden["logits"][3].argmax())


def test_without_pillow_the_command_that_installs_it_is_said(newest_device: Path, device: Path, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(b"")

    ended = ran(newest_device, device, tmp_path / "digit.png")

    assert ended.returncode == 2
    assert "Pillow: is missing, which reads image files; python3 -m pip install 'Pillow>=10.1'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_more_threads_than_cores_are_refused_in_one_line(newest_device: Path, device: Path) -> None:
    ended = ran(newest_device, device, "--bench", "--threads", str(MOST_THREADS))

    assert ended.returncode == 2
    assert f"edgekd_run: --threads: {MOST_THREADS} threads on" in ended.stderr


@pytest.mark.parametrize(("option", "most"), [("--threads", MOST_THREADS), ("--batch", MOST_BATCH)])
def test_numbers_beyond_those_of_a_target_are_refused(device: Path, option: str, most: int) -> None:
    for number in (0, most + 1, "9" * 5000, "x"):
        ended = ran(Path(sys.executable), device, "--bench", option, str(number))

        assert ended.returncode == 2
        assert "Traceback" not in ended.stderr
        assert option in ended.stderr.splitlines()[-1]
