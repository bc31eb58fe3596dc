"""Collecting the tests gives the same names in every process, at every time, on every machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def _collected_elsewhere(home: Path) -> list[str]:
    """The names that another process gives, with another hash seed, time zone, home and CPU."""
    surroundings = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "HOME": str(home), "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_another_process_collects_the_same_tests(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Workers compare what they collected: one name that differs ends the run."""
    time.sleep(1.1)  # gzip and zip write whole seconds into their headers

    elsewhere = _collected_elsewhere(tmp_path)

    assert len(elsewhere) > 1000
    here = [item.nodeid for item in request.session.items]
    if _chosen_here(request.config):
        elsewhere = [name for name in elsewhere if name in set(here)]
    assert sorted(elsewhere, key=_file) == sorted(here, key=_file)  # within a file in order: sorting keeps it
    assert here
    assert all(name.isascii() and name.isprintable() and len(name) < 300 for name in elsewhere)


def _file(name: str) -> str:
    return name.partition("::")[0]


def _chosen_here(config: pytest.Config) -> bool:
    """Were some tests named or left out on the command line?"""
    return bool(config.option.keyword or config.option.markexpr or config.option.file_or_dir)
