"""A program of the bundle runs on the device, no longer than somebody listens."""

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
    """The report of a version's self-test, which it passed."""
    code, out, err = _run([python, "edgekd_run.py", "--selftest", "--json"], folder, SELFTEST_S)
    report = _parsed(out)
    if code == 0 and report.get("ok") is True:
        return report
    problems = report.get("problems")
    why = ", ".join(map(str, problems[:3])) if isinstance(problems, list) else ""
    why = why or last_line(err) or last_line(out) or f"exit code {code}"
    raise RefusedError(f"the self-test failed there: {why}", _serving(serving))


def bench(python: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """The report of the bundle's bench."""
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
        # A process group of its own: a bench starts processes, which must end with it.
        start_new_session=True,
    ) as child:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = child.communicate(timeout=0.5)
                    return child.returncode, out, err
                # The sender says nothing while a program runs: a stream that can be read has ended.
                if select.select([0], [], [], 0)[0]:
                    raise GoneError
                if time.monotonic() > ends:
                    raise RefusedError(f"{' '.join(command[1:3])} was not done after {limit_s:.0f} s", "")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def interpreter(order: dict[str, Any]) -> str:
    """The order's interpreter by a path that holds in any folder; links stay, for a virtual environment is one."""
    found = shutil.which(Path(order["python"]).expanduser())
    return str(Path(found or sys.executable).absolute())


def last_line(text: bytes) -> str:
    """What a program said last."""
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
