"""Collecting the tests gives the same names in every process, at every time, on every machine."""

import os
import subprocess
import sys
import time
from pathlib import Path


def _collecting(hash_seed: str, zone: str, home: Path) -> "subprocess.Popen[str]":
    surroundings = {"PYTHONHASHSEED": hash_seed, "TZ": zone, "HOME": str(home), "ATEN_CPU_CAPABILITY": "default"}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **surroundings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _names(collecting: "subprocess.Popen[str]") -> list[str]:
    told, errors = collecting.communicate()
    assert collecting.returncode == 0, told + errors
    return [line for line in told.splitlines() if "::" in line]


def test_two_processes_collect_the_same_tests(tmp_path: Path) -> None:
    """Workers compare what they collected: one name that differs ends the run."""
    first = _collecting("1", "UTC", Path.home())
    time.sleep(1.1)  # gzip and zip write whole seconds into their headers
    second = _collecting("2", "Asia/Tokyo", tmp_path)

    names, others = _names(first), _names(second)

    assert len(names) > 1000
    assert names == others
    assert all(name.isascii() and name.isprintable() and len(name) < 300 for name in names)
