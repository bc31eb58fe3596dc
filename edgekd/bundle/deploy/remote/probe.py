"""Finds out a device's CPU, packages and free space."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgekd.bundle.deploy.remote.programs import interpreter, last_line
from edgekd.bundle.deploy.remote.wire import SILENCE_S

FLAGS = {"sse4_1", "avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm", "neon"}


def probe(order: dict[str, Any]) -> dict[str, Any]:
    """This machine's CPU, packages and free space."""
    cpu, flags = _cpu()
    python = interpreter(order)
    return {
        "python": platform.python_version(),
        "packages": {name: _imported(python, name) for name in ("numpy", "onnxruntime")},
        "machine": _machine(),
        "cpu": cpu,
        "flags": sorted(flags & FLAGS),
        "free_bytes": _free_bytes(Path(order["path"] or tempfile.gettempdir())),
    }


def _machine() -> str:
    """The machine type; marked if Python is 32-bit on a 64-bit system, whose kernels differ."""
    name = platform.machine()
    return f"{name} (32-bit)" if "64" in name and sys.maxsize < 2**32 else name


def _cpu() -> tuple[str, set[str]]:
    names: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for text in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = text.partition(":")
            names.setdefault(key.strip(), value.strip())
    name = names.get("model name") or names.get("Model") or platform.processor() or platform.machine()
    return name, set((names.get("flags") or names.get("Features") or "").split())


def _imported(python: str, package: str) -> dict[str, str]:
    """The version of a package, imported in a separate process: a wheel for another CPU may crash it."""
    command = [python, "-c", f"import {package}; print({package}.__version__)"]
    # stdin is the stream from the sender, and the child must not consume it.
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SILENCE_S, check=False
    )
    if done.returncode == 0:
        return {"version": last_line(done.stdout), "problem": ""}
    return {"version": "", "problem": last_line(done.stderr) or f"its import ended with {done.returncode}"}


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
