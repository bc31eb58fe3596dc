"""``edgekd deploy`` as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekd.bundle.check import verify
from edgekd.bundle.deploy import Address, connect, deploy
from edgekd.bundle.write import ON_DEVICE
from edgekd.config.progress import Progress
from edgekd.ondevice.contents import sealed
from edgekd.ondevice.machine import host_isa
from tests.device.bundles import content_of, write_bundle
from tests.device.conftest import write_python

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from edgekd.cli import main; main()", "deploy"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def url(device: Address) -> str:
    """The address as a user writes it."""
    return f"ssh://{device.user}@{device.host}:{device.port}{device.path}"


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def exports(pristine_bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two bundles of the same files, the second for another CPU."""
    first, second = (Path(shutil.copytree(pristine_bundle, tmp_path / name)) for name in ("first", "second"))
    body = json.loads((second / "manifest.json").read_text())
    del body["digest"]
    body["target"] |= {"isa": "arm64", "weight_bits": 8}
    (second / "manifest.json").write_text(sealed(body))
    return first, second


def test_a_bundle_is_served_and_measured_where_only_numpy_and_onnxruntime_are(
    device: Address, newest_device: Path, exports: tuple[Path, Path]
) -> None:
    first, second = exports
    done = run(first, url(device), "--python", newest_device)
    later = run(second, url(device), "--python", newest_device)
    back = run(second, url(device), "--python", newest_device, "--rollback")

    assert (done.returncode, later.returncode, back.returncode) == (0, 0, 0), (done, later, back)
    served = [next(line for line in ended.stdout.splitlines() if " now, " in line) for ended in (done, later, back)]
    versions = [line.split()[2] for line in served]
    assert served[0].startswith(f"127.0.0.1 serves {versions[0]} now, the first there; its self-test passed there")
    assert f"now, instead of {versions[0]};" in served[1]
    assert served[2].startswith(f"127.0.0.1 serves {versions[0]} now, instead of {versions[1]};")
    if host_isa() != "arm64":
        assert "WARNING: made for arm64 with 8-bit weights" in later.stdout
    assert sorted(path.name for path in (Path(device.path) / "current").iterdir() if path.name[0] != ".") == sorted(
        [*ON_DEVICE, "manifest.json"]
    )


def test_the_device_s_figures_are_in_the_bundle_its_report_and_the_comparison(
    device: Address, newest_device: Path, exports: tuple[Path, Path]
) -> None:
    first, second = exports

    done = run(first, url(device), "--python", newest_device)

    found = json.loads((first / "device-127.0.0.1.json").read_text())
    assert [model["id"] for model in found["models"]] == ["teacher", "qat", "qat.ptq"]
    assert all(model["latency_ms"]["p50"] > 0 for model in found["models"])
    assert "32 of 32 golden images the same class" in found["selftest"]
    assert json.loads((first / "report.json").read_text())["devices"] == [found]
    assert "On devices" in (first / "report.html").read_text()
    assert "on 127.0.0.1: CPU " in done.stdout
    assert verify(first)["ok"]
    compared = subprocess.run([*COMMAND[:-1], "compare", first, second], capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared
    assert "127.0.0.1" in compared.stdout


def test_a_bench_on_the_device_leaves_nothing_there(
    device: Address, newest_device: Path, pristine_bundle: Path
) -> None:
    where = f"ssh://{device.user}@{device.host}:{device.port}"

    done = subprocess.run(
        [*COMMAND[:-1], "bench", pristine_bundle, "--device", where, "--python", newest_device, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    found = json.loads(done.stdout)
    assert [about["name"] for about in found["files"]] == ["teacher", "qat", "qat.ptq"]
    assert found["files"][0]["ratio"] == 1.0
    deadline = time.monotonic() + 60  # another test may be at a bench of its own
    while list(Path(tempfile.gettempdir()).glob("edgekd-bench-*")) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert list(Path(tempfile.gettempdir()).glob("edgekd-bench-*")) == []


def test_a_mistake_is_one_line_and_exit_code_2(device: Address, tmp_path: Path) -> None:
    poor = write_python(tmp_path / "poor", "-S", numpy='__version__ = "2"')

    done = run(write_bundle(tmp_path / "bundle"), url(device), "--python", poor)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgekd: 127.0.0.1: onnxruntime missing there; install there: ")
    assert "-m pip install 'onnxruntime>=1.18'" in line


def test_ctrl_c_during_the_self_test_leaves_the_old_version_serving(
    device: Address, python: str, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    with connect(device, python=python) as connection:
        deploy(connection, write_bundle(tmp_path / "first"), now=datetime.now(UTC), progress=Progress())
    slow = write_bundle(tmp_path / "slow", b"slow model", slow=str(began).encode())
    process = subprocess.Popen(
        [*COMMAND, slow, url(device), "--python", python], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not began.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert len(err.splitlines()) == 1
    assert content_of((Path(device.path) / "current/model.onnx").read_bytes()) == b"first model"
    _gone(Path(device.path) / "versions")


def _gone(versions: Path) -> None:
    """The device notices soon that nobody listens."""
    for _ in range(100):
        if not list(versions.glob(".incoming-*")):
            return
        time.sleep(0.05)
    pytest.fail(f"still there: {list(versions.iterdir())}")


def test_without_asyncssh_the_extra_is_named(device: Address, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['asyncssh'] = None; from edgekd.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", hidden, "deploy", tmp_path, url(device)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == "edgekd: device: asyncssh is not installed here; pip install 'edgekd[device]'\n"


def test_a_deploy_needs_no_torch() -> None:
    script = "import json, sys, edgekd.bundle.deploy, edgekd.cli.terminal; print(json.dumps(sorted(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)

    assert not {"torch", "onnxruntime", "onnx"} & set(json.loads(done.stdout))
