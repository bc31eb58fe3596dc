"""The self-test on an emulated ARM64 CPU: proof of the answers without a board. It says nothing of speed."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgekd.bundle.check import check_trusted
from edgekd.bundle.runner import RUNNER, runner_source
from edgekd.errors import BundleError
from edgekd.store.disk import disk_errors

EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
ARM64 = Path("~/.cache/edgekd/arm64")
"""An arm64 Python below ``usr/``, numpy and ONNX Runtime for it below ``site/``."""
HOW = "docs/emulated_arm.md says how to make one"
LIMIT_S = 3600
# edgekd's own runner tests the bundle: nothing that came with it is executed.
_PROGRAM = f"""
import json, sys
from pathlib import Path
import {RUNNER.removesuffix(".py")} as runner
found = runner.self_test(Path(sys.argv[1]), everything=False)
print(json.dumps({{**found, "machine": runner.machine_facts()}}))
"""


def verify_emulated(bundle: Path, cpu: str, arm64: Path = ARM64) -> dict[str, Any]:
    """The self-test as on such a CPU: see ``edgekd.ondevice.selftest.self_test``, and ``machine``.

    Args:
        bundle: the bundle.
        cpu: as QEMU names it: ``cortex-a72``, ``cortex-a53``, ``neoverse-n1``.
        arm64: a folder as ``ARM64``.

    Raises:
        BundleError: the bundle is damaged; the emulator or the Python is missing, or fails.
        ExportError: a model of the bundle would make ONNX Runtime open other files.
    """
    arm64 = arm64.expanduser()
    emulator, python = _emulator(), _python(arm64)
    check_trusted(bundle)
    with tempfile.TemporaryDirectory() as scratch:
        with disk_errors(Path(scratch)):
            (Path(scratch) / RUNNER).write_text(runner_source(), encoding="utf-8")
        command = [emulator, "-cpu", cpu, "-L", str(arm64), str(python), "-c", _PROGRAM, str(bundle.resolve())]
        return _answer(_run(command, arm64, scratch), cpu)


def _emulator() -> str:
    found = next((path for path in map(shutil.which, EMULATORS) if path), None)
    if found is None:
        raise BundleError(EMULATORS[0], "is not installed", "apt install qemu-user-static")
    return found


def _python(arm64: Path) -> Path:
    found = [path for path in (arm64 / "usr" / "bin").glob("python3.*") if path.suffix[1:].isdecimal()]
    if not found:
        raise BundleError(str(arm64), "holds no arm64 Python (usr/bin/python3.*)", HOW)
    return max(found, key=lambda path: int(path.suffix[1:]))


def _run(command: list[str], arm64: Path, scratch: str) -> "subprocess.CompletedProcess[str]":
    places = {"PYTHONHOME": str(arm64 / "usr"), "PYTHONPATH": str(arm64 / "site")}
    try:
        return subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
            timeout=LIMIT_S,
            env={**os.environ, **places},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleError(command[0], f"cannot run the self-test ({str(error)[:200]})", HOW) from None


def _answer(ended: "subprocess.CompletedProcess[str]", cpu: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((ended.stdout.splitlines() or [""])[-1])
        return found
    except ValueError:
        said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise BundleError(cpu, f"the emulated self-test failed ({said[:200]})", HOW) from None
