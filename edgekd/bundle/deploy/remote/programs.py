"""Runs a bundle's programs on the device, for as long as the sender is connected."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgekd.bundle.deploy.remote.wire import GoneError, RefusedError

SELFTEST_S = 900
BENCH_S = 3600


def selftest(python: str, folder: Path, serving: str | None) -> dict[str, Any]:
    """Run a version's self-test; its report if it passed, else RefusedError."""
    code, out, err = _run([python, "edgekd_run.py", "--selftest", "--json"], folder, SELFTEST_S)
    report = _parsed(out)
    if code == 0 and report.get("ok") is True:
        return report
    problems = report.get("problems")
    why = ", ".join(map(str, problems[:3])) if isinstance(problems, list) else ""
    why = why or last_line(err) or last_line(out) or f"exit code {code}"
    raise RefusedError(f"the self-test failed there: {why}", _serving(serving))


def bench(python: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run the bench and return its report."""
    code, out, err = _run([python, "edgekd_run.py", "--bench", *arguments, "--json"], folder, BENCH_S)
    report = _parsed(out)
    if code != 0 or not report:
        raise RefusedError(f"the bench failed there: {last_line(err) or last_line(out) or f'exit code {code}'}", "")
    return report


def _serving(version: str | None) -> str:
    return f"{version} goes on serving" if version else "nothing is served"


def _parsed(out: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        report = json.loads(out)
        return report if isinstance(report, dict) else {}
    return {}


def _run(command: list[str], folder: Path, limit_s: float) -> tuple[int, bytes, bytes]:
    ends = time.monotonic() + limit_s
    with subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        # A session of its own, so that killpg also ends the processes that a bench starts.
        start_new_session=True,
    ) as child:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = child.communicate(timeout=0.5)
                    return child.returncode, out, err
                # The sender is silent while a program runs, so readable means end of file: the sender is gone.
                if select.select([0], [], [], 0)[0]:
                    raise GoneError
                if time.monotonic() > ends:
                    raise RefusedError(f"{' '.join(command[1:3])} was not done after {limit_s:.0f} s", "")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def interpreter(order: dict[str, Any]) -> str:
    """The absolute path of the order's interpreter; links are kept, because a virtual environment's python is one."""
    found = shutil.which(Path(order["python"]).expanduser())
    return str(Path(found or sys.executable).absolute())


def last_line(text: bytes) -> str:
    """The last line of a program's output."""
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
