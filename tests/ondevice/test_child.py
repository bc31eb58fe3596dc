"""Processes that measure: what they give, how they end, and what they leave."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.ondevice import child
from edgekd.ondevice.child import in_own_process
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.latency import PROCESSES, ROUNDS, interleaved
from edgekd.ondevice.rounds import ROUNDS_PER_PROCESS, Load
from tests.report.test_measuring import cast_file

pytestmark = pytest.mark.usefixtures("real_latency")

NOISE = Load(threads=1, batch=1)


def children() -> set[str]:
    """Of this process, by number."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {number for task in tasks for number in (task / "children").read_text().split()}


def test_every_file_is_measured_in_every_round_and_rounds_are_told(tmp_path: Path) -> None:
    files, told = [cast_file(tmp_path / f"{name}.onnx", ["n", 2]) for name in ("a", "b")], list[int]()

    found = in_own_process("time", files, NOISE, (0, 1), told.append)

    assert told == [*range(1, ROUNDS_PER_PROCESS + 1)]
    assert [len(rounds) for rounds in found["rounds_ms"]] == [ROUNDS_PER_PROCESS] * 2
    for runs, rounds in zip(found["runs_ms"], found["rounds_ms"], strict=True):
        assert 0 < min(runs) <= min(rounds) <= max(rounds) <= max(runs)


@pytest.mark.slow
def test_processes_measure_one_after_the_other_and_rounds_are_counted_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, popen, before = [], subprocess.Popen, children()

    def counted(*arguments: Any, **settings: Any) -> Any:
        assert children() == before
        started.append(popen(*arguments, **settings))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", counted)
    told: list[tuple[int, int]] = []

    found = interleaved([cast_file(tmp_path / "a.onnx", ["n", 2])], NOISE, 0, lambda *counts: told.append(counts))

    assert len({process.pid for process in started}) == PROCESSES
    assert told == [(done, ROUNDS) for done in range(1, ROUNDS + 1)]
    assert found.rounds_ms.shape == (1, ROUNDS)


def test_pixels_are_what_the_file_is_run_on(tmp_path: Path) -> None:
    """A file of batches of three refuses noise of one, and takes the three that it is given."""
    file = cast_file(tmp_path / "three.onnx", [3, 2])

    assert in_own_process("costs", [file], Load(1, 3, np.zeros((3, 2), np.uint8)))["load_ms"] > 0
    with pytest.raises(Fault, match=r"three\.onnx: takes only batches of 3; use --batch 3"):
        in_own_process("costs", [file], NOISE)


def test_a_process_s_memory_is_its_own_and_not_that_of_the_one_that_started_it(tmp_path: Path) -> None:
    file = cast_file(tmp_path / "a.onnx", ["n", 2])
    before = in_own_process("costs", [file], NOISE)["peak_rss_bytes"]
    held = np.ones(400_000_000, np.uint8)

    after = in_own_process("costs", [file], NOISE)["peak_rss_bytes"]

    assert len(held) > 2 * before
    assert after == pytest.approx(before, rel=0.2)


def test_a_file_that_is_refused_is_one_fault_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    before = children()

    with pytest.raises(Fault, match=r"^broken\.onnx: ONNX Runtime \S+ refuses it"):
        interleaved([tmp_path / "broken.onnx"], NOISE, 0, lambda done, total: None)
    assert children() == before


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("os.kill(os.getpid(), 9)", "a.onnx: the process that measured it was killed; is there enough memory?"),
        ("os.kill(os.getpid(), 11)", "a.onnx: ONNX Runtime crashed on it (SIGSEGV)"),
        ("print('first'); sys.exit('out of luck')", "a.onnx: the process that measured it failed: out of luck"),
        ("os._exit(3)", "a.onnx: the process that measured it failed: exit code 3"),
    ],
)
def test_a_process_that_dies_is_one_fault_that_says_on_which_file_and_why(
    ending: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """import json, os, sys
        sys.stdin.buffer.read()
        print('edgekd-answer: {"file": 1}', flush=True)
        """
    code = f"{textwrap.dedent('        ' + text)}{ending}"
    monkeypatch.setattr(child, "_command", lambda: [sys.executable, "-c", code])

    with pytest.raises(Fault) as fault:
        in_own_process("time", [tmp_path / "b.onnx", tmp_path / "a.onnx"], NOISE)

    assert str(fault.value) == told


def test_a_folder_that_one_stands_in_is_no_place_for_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runpy", "numpy", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')")
    file = cast_file(tmp_path / "a.onnx", ["n", 2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])

    assert in_own_process("costs", [file], NOISE)["peak_rss_bytes"] > 0


def test_ctrl_c_ends_the_process_that_measures_and_leaves_nothing(tmp_path: Path) -> None:
    file = cast_file(tmp_path / "a.onnx", ["n", 2])
    code = f"""
        from pathlib import Path
        from edgekd.ondevice.latency import interleaved
        from edgekd.ondevice.rounds import Load
        told = lambda done, total: print(done, flush=True)
        interleaved([Path({str(file)!r})], Load(1, 1), 0, told)
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    measuring = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert measuring.stdout is not None
    assert measuring.stdout.readline() == "1\n"
    # Between two processes there is none.
    workers = Path(f"/proc/{measuring.pid}/task/{measuring.pid}/children")
    while not (found := workers.read_text().split()):
        time.sleep(0.001)
    (worker,) = found

    measuring.send_signal(signal.SIGINT)

    assert measuring.communicate(timeout=30)[1].endswith("KeyboardInterrupt\n")
    ends = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert sorted(tmp_path.iterdir()) == [file]


def test_where_no_process_can_be_started_is_one_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_command", lambda: [str(tmp_path / "no-python")])

    with pytest.raises(Fault, match="latency: no process to measure in can be started: No such file or directory"):
        in_own_process("time", [tmp_path / "a.onnx"], NOISE)
