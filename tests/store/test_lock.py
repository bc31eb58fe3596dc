"""Locks between processes: one holds, the others wait; none outlives its process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.store import lock

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from edgekd.store import lock\n"
    "file = lock.take(Path(sys.argv[1]), shared='shared' in sys.argv, waiting=lambda who: print(who, flush=True))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
    "lock.release(Path(sys.argv[1]), file)\n"
)


def other(path: Path, *words: str) -> subprocess.Popen[str]:
    """Another process, which takes the lock and keeps it until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path / "lock"``."""
    process = other(tmp_path / "lock")
    assert says(process) == "held"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_held_once_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.held(path, lambda _: None):
        assert lock.take(path) is None
        assert lock.holder(path) is not None

    assert not path.exists()
    assert lock.holder(path) is None


def test_another_process_holds_it_and_is_named(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    assert lock.take(tmp_path / "lock") is None
    assert lock.holder(tmp_path / "lock") == f"pid {holding.pid}"


def test_a_killed_process_leaves_no_lock(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    holding.send_signal(signal.SIGKILL)
    holding.wait()

    assert (tmp_path / "lock").exists()
    assert lock.holder(tmp_path / "lock") is None
    file = lock.take(tmp_path / "lock")
    assert file is not None
    lock.release(tmp_path / "lock", file)
    assert list(tmp_path.iterdir()) == []


def test_who_waits_is_told_by_whom_once_and_gets_it_next(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    waiting = other(tmp_path / "lock")
    assert says(waiting) == f"pid {holding.pid}"

    holding.communicate("")

    assert says(waiting) == "held"
    assert lock.holder(tmp_path / "lock") == f"pid {waiting.pid}"
    waiting.communicate("")
    assert not (tmp_path / "lock").exists()


def test_of_many_that_wait_one_at_a_time_holds_it(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    waiting = [other(tmp_path / "lock") for _ in range(4)]
    assert {says(process) for process in waiting} == {f"pid {holding.pid}"}
    holding.communicate("")

    for _ in range(4):
        time.sleep(0.2)
        name = lock.holder(tmp_path / "lock")
        (owner,) = (process for process in waiting if name == f"pid {process.pid}")
        assert lock.take(tmp_path / "lock") is None
        assert owner.communicate("")[0].strip() == "held"
        waiting.remove(owner)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_waiting(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    waiting = other(tmp_path / "lock")
    assert says(waiting) == f"pid {holding.pid}"
    time.sleep(0.2)

    waiting.send_signal(signal.SIGINT)

    assert "KeyboardInterrupt" in waiting.communicate(timeout=10)[1]
    assert lock.holder(tmp_path / "lock") == f"pid {holding.pid}"


def test_those_that_share_do_not_wait_for_each_other_and_keep_out_who_wants_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "in-use"
    sharing = [other(path, "shared") for _ in range(2)]
    assert [says(process) for process in sharing] == ["held", "held"]

    assert lock.take(path) is None
    sharing[0].communicate("")
    assert lock.take(path) is None
    sharing[1].communicate("")

    assert not path.exists()


def test_a_symbolic_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        lock.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_who_holds_a_lock_is_asked_with_a_file_that_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS grants an exclusive lock on nothing else."""
    asked: list[int] = []
    opened = os.open

    def noted(path: Path, flags: int, *mode: int) -> int:
        asked.append(flags & os.O_ACCMODE)
        return opened(path, flags, *mode)

    (tmp_path / "lock").touch()
    monkeypatch.setattr(os, "open", noted)

    assert lock.holder(tmp_path / "lock") is None
    assert asked == [os.O_RDWR]
