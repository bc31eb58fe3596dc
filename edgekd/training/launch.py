"""Starts and supervises the processes that train together on this machine; imports nothing slow."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from edgekd.errors import ConfigError, LostProcessError
from edgekd.ondevice.machine import usable_cores

LAUNCHER = "EDGEKD_LAUNCHER"
"""Environment variable with the pid of the launching process."""
GOES_ON = "complete stages and epochs are kept: run the same command to go on"
GRACE_SECONDS = 10.0
"""How long the other processes may take to end after the first."""
_BUDGET_MISSED = 1
# With the sys.path of this process, so that the others import the same packages.
_CODE = "import sys; sys.path[:] = {path!r}; sys.argv[0] = 'edgekd'; from edgekd.cli import main; main()"


@dataclass(frozen=True)
class Ended:
    """How a run over several processes ended: its exit code, and lines still to be printed."""

    exit_code: int
    lines: tuple[str, ...] = ()


def has_peers(environ: Mapping[str, str] = os.environ) -> bool:
    """Is this process one of several, started by ``launch`` or by torchrun?"""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in environ for name in names)


def quiet_torch() -> None:
    """Call before torch is imported: DDP would warn, from C++, that it found no unused parameters."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def check_devices(devices: int, environ: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError if --devices contradicts the number of processes that torchrun started."""
    if devices > 1 and has_peers(environ) and environ["LOCAL_WORLD_SIZE"] != str(devices):
        found = f"{devices}, but {environ['LOCAL_WORLD_SIZE']} processes were started on this machine"
        raise ConfigError("--devices", found, "leave it out: torchrun --nproc-per-node decides")


def launch(count: int, arguments: Sequence[str]) -> Ended:
    """Run this program ``count`` times at once with the same arguments, until all have ended.

    The first writes to this process's terminal; the output of the others is kept, and reported if one fails.

    Args:
        count: how many processes.
        arguments: of the command line.

    Raises:
        LostProcessError: a process was killed or crashed; the others are terminated.
    """
    with _started(count, arguments) as workers:
        while workers[0].running and not any(worker.failed for worker in workers):
            time.sleep(0.1)
        _wait(workers, GRACE_SECONDS)
        return _outcome(workers)


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def code(self) -> int | None:
        return self.process.poll()

    @property
    def failed(self) -> bool:
        return self.code not in (None, 0)

    def last_words(self) -> list[str]:
        """What it wrote to its standard error, line by line."""
        self.said.seek(0)
        return self.said.read().decode(errors="replace").splitlines()


@contextlib.contextmanager
def _started(count: int, arguments: Sequence[str]) -> Iterator[list[_Worker]]:
    """The processes, terminated on exit; in sessions of their own, so that Ctrl-C reaches only the launcher."""
    command = [sys.executable, "-c", _CODE.format(path=sys.path), *arguments]
    port = _free_port()
    with contextlib.ExitStack() as stack:
        workers: list[_Worker] = []
        stack.callback(_end, workers)
        for rank in range(count):
            # A file, not a pipe: nobody reads while the process runs, and a full pipe would block it.
            said = stack.enter_context(tempfile.TemporaryFile())
            streams: dict[str, Any] = {} if rank == 0 else {"stdout": subprocess.DEVNULL, "stderr": said}
            process = subprocess.Popen(  # noqa: S603  (this very program)
                command,
                env=_environment(rank, count, port),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **streams,
            )
            workers.append(_Worker(rank + 1, process, said))
        yield workers


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """torchrun's variables; the cores are divided among the processes, and only the loopback interface is used."""
    return {
        # The user's own values of these two take precedence; of those below they do not.
        "OMP_NUM_THREADS": str(max(1, usable_cores() // count)),
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LAUNCHER: str(os.getpid()),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(workers: Sequence[_Worker], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(worker.running for worker in workers):
        time.sleep(0.1)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.running:
            # SIGTERM first, so that they can delete their temporary folders.
            worker.process.terminate()
    _wait(workers, GRACE_SECONDS / 2)
    for worker in workers:
        if worker.running:
            worker.process.kill()
        worker.process.wait()


def _outcome(workers: Sequence[_Worker]) -> Ended:
    """The first process's exit code counts; if it lost a peer, that peer is reported."""
    first = workers[0].code
    # A signal (negative) or LostProcessError's code means that another process may be to blame.
    if first is not None and first >= 0 and first != LostProcessError.exit_code:
        return Ended(first)
    blamed = min((worker for worker in workers if worker.failed), key=_innocence)
    words = blamed.last_words()
    if blamed.code in (None, _BUDGET_MISSED, LostProcessError.exit_code) or blamed.code < 0:
        raise _lost(blamed, len(workers), words)
    return Ended(blamed.code, tuple(words[-1:]))


def _innocence(worker: _Worker) -> int:
    """Sort key for blame: killed processes first, then failed ones, last those that only lost a peer."""
    assert worker.code is not None
    return 0 if worker.code < 0 else 2 if worker.code == LostProcessError.exit_code else 1


def _lost(worker: _Worker, count: int, words: Sequence[str]) -> LostProcessError:
    assert worker.code is not None
    how = f"was killed ({signal.Signals(-worker.code).name})" if worker.code < 0 else f"ended with {worker.code}"
    said = f": {words[-1]}" if words and worker.code > 0 else ""
    return LostProcessError("--devices", f"process {worker.number} of {count} {how}{said}", GOES_ON)
