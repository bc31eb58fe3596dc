"""``edgekd deploy`` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd.device import Address
from tests.device.bundles import write_bundle
from tests.device.conftest import write_python

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


def test_deploy_tells_what_is_served_and_measured_and_rollback_what_is_served_again(
    device: Address, python: str, tmp_path: Path
) -> None:
    first = run(write_bundle(tmp_path / "first"), url(device), "--python", python, "--threads", "2")
    second = run(write_bundle(tmp_path / "second", b"second", isa="arm64", bits=8), url(device), "--python", python)
    back = run(tmp_path / "second", url(device), "--python", python, "--rollback")

    assert (first.returncode, second.returncode, back.returncode) == (0, 0, 0), (first, second, back)
    served = [next(line for line in done.stdout.splitlines() if " now, " in line) for done in (first, second, back)]
    versions = [line.split()[2] for line in served]
    assert served[0].startswith(f"127.0.0.1 serves {versions[0]} now, the first there; its self-test passed there")
    assert f"now, instead of {versions[0]};" in served[1]
    assert served[2].startswith(f"127.0.0.1 serves {versions[0]} now, instead of {versions[1]};")
    assert "WARNING: made for arm64 with 8-bit weights" in second.stdout
    assert "127.0.0.1 measured: p50_ms 1.5" in first.stdout
    assert (Path(device.path) / "current/model.onnx").read_bytes() == b"first model"


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
    assert run(write_bundle(tmp_path / "first"), url(device), "--python", python).returncode == 0
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
    assert (Path(device.path) / "current/model.onnx").read_bytes() == b"first model"
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
    script = "import json, sys, edgekd.device, edgekd.terminal; print(json.dumps(sorted(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)

    assert not {"torch", "onnxruntime", "onnx"} & set(json.loads(done.stdout))
