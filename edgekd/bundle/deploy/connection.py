"""A connection to a device over ssh: one order at a time, every failure a one-line error."""

import asyncio
import contextlib
import shlex
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from edgekd.bundle.deploy.address import Address
from edgekd.bundle.deploy.login import Login, log_in
from edgekd.bundle.deploy.protocol import BOOTSTRAP, LINE_BYTES, NOISE_BYTES, parsed, program, shown, written
from edgekd.config.progress import Progress
from edgekd.errors import DeviceError

CHUNK = 1 << 16
SILENCE_S = 90
"""Longest wait for a device to take bytes, or to answer where it has nothing to run."""
RUN_S = 3700
"""Longest wait while a device runs something; its own limits are shorter."""

T = TypeVar("T")


@dataclass(frozen=True)
class Connection:
    """A device that takes orders.

    Args:
        address: where it is.
        python: its interpreter.
        accepted_key: fingerprint of a host key that was unknown before; empty otherwise.
    """

    address: Address
    python: str
    accepted_key: str
    _login: Login
    _runner: asyncio.Runner

    def ask(
        self,
        order: Mapping[str, object],
        files: Mapping[str, bytes] | None = None,
        progress: Progress | None = None,
        wait_s: float = RUN_S,
    ) -> dict[str, Any]:
        """Send an order and the files that it lists, and wait for the answer.

        Args:
            order: what to do.
            files: bytes by path, as the order lists them.
            progress: informed about steps and bytes sent.
            wait_s: longest silence of the device.

        Returns:
            The device's answer: a JSON object of bounded size, otherwise unchecked.

        Raises:
            DeviceError: the device refused, or was lost.
        """
        order = {**order, "python": self.python}
        talk = _Talk(self.address.host, self._login.ssh, progress or Progress(), wait_s)
        return _run(self._runner, talk.hold(self.python, order, files or {}))


@contextlib.contextmanager
def connect(address: Address, *, python: str = "python3", accept_new_host_key: bool = False) -> Iterator[Connection]:
    """Log in on a device.

    Args:
        address: where it is; ``~/.ssh/config``, keys and agent are honoured.
        python: interpreter to use there, a name or a path.
        accept_new_host_key: take the key of a host that was never seen; a changed key is never taken.

    Raises:
        DeviceError: unreachable, an unknown or changed host key, or no key that it accepts.
    """
    if not python or python.startswith("-") or not python.isprintable():
        raise DeviceError("--python", f"{python!r} is not an interpreter", "give a name or a path on the device")
    with asyncio.Runner() as runner:
        login = _run(runner, log_in(address, accept_new_host_key=accept_new_host_key))
        try:
            yield Connection(address, python, login.accepted_key, login, runner)
        finally:
            runner.run(login.close())


def _run(runner: asyncio.Runner, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; Ctrl-C cancels it cleanly and is then raised again."""
    loop = runner.get_loop()
    task = loop.create_task(work)
    # Python lets only the main thread set signal handlers.
    if threading.current_thread() is not threading.main_thread():
        return runner.run(_finished(task))
    handler = signal.getsignal(signal.SIGINT)
    # A cancelled task closes the connection, so that the device notices and cleans up; an exception raised by the usual
    # handler would stop the event loop before that.
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return runner.run(_finished(task))
    except asyncio.CancelledError:
        signal.signal(signal.SIGINT, handler)
        signal.raise_signal(signal.SIGINT)
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, handler)


async def _finished(task: "asyncio.Task[T]") -> T:
    return await task


class _Talk:
    """One order: the program goes out, then the order, then bytes; answers come in."""

    def __init__(self, host: str, ssh: asyncssh.SSHClientConnection, progress: Progress, wait_s: float) -> None:
        self._host, self._ssh, self._progress, self._wait_s = host, ssh, progress, wait_s
        self._steps: set[str] = set()
        self._noise = ""
        self._switching = False

    async def hold(self, python: str, order: Mapping[str, object], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Everything up to the last answer."""
        command = f"{_quoted(python)} -c {shlex.quote(BOOTSTRAP)}"
        try:
            # No pseudo-terminal: it would convert line ends and interpret control bytes in the files.
            process = await self._ssh.create_process(command, encoding=None, request_pty=False)
            errors = asyncio.create_task(_first_bytes(process.stderr))
            try:
                await self._send(process.stdin, [program(), written(order)])
                return await self._listen(process, files, errors)
            finally:
                errors.cancel()
                # Without waiting: a device that fell silent would not confirm it.
                process.close()
        except TimeoutError:
            raise self._lost("it went silent") from None
        except (OSError, asyncssh.Error) as error:
            raise self._lost(f"the connection was cut ({shown(error) or type(error).__name__})") from None

    async def _listen(
        self, process: "asyncssh.SSHClientProcess[bytes]", files: Mapping[str, bytes], errors: "asyncio.Task[str]"
    ) -> dict[str, Any]:
        async for answer in self._answers(process.stdout):
            step = self._new_step(answer["step"])
            if step == "ready":
                await self._send(process.stdin, list(files.values()), "bytes sent")
                self._progress.note("all bytes sent; the device compares checksums and goes on")
            elif step == "tested":
                self._progress.note("the self-test passed there; switching")
                # From here on the device may switch at any moment, and an error can no longer promise that the old
                # version is served.
                self._switching = True
                await self._send(process.stdin, [b"switch\n"])
            elif step == "done":
                return answer
            elif step == "error":
                raise DeviceError(self._host, shown(answer.get("problem", "")), shown(answer.get("remedy", "")))
        await asyncio.wait_for(process.wait_closed(), SILENCE_S)
        with contextlib.suppress(TimeoutError):
            self._noise = await asyncio.wait_for(errors, 5) or self._noise
        raise self._ended(process)

    def _new_step(self, step: str) -> str:
        # A faulty or hostile device that repeats a step would make this side send the files again and again.
        if step in self._steps:
            raise DeviceError(self._host, f"it says {shown(step)!r} twice", "check what answers there")
        self._steps.add(step)
        return step

    async def _answers(self, stdout: "asyncssh.SSHReader[bytes]") -> AsyncIterator[dict[str, Any]]:
        pending, read = b"", 0
        while piece := await asyncio.wait_for(stdout.read(CHUNK), self._wait_s):
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                answer = parsed(line, self._host)
                if answer:
                    yield answer
                else:
                    read += len(line)
                    self._noise = shown(line.decode("utf-8", "replace")) or self._noise
            # The device is not trusted: without a limit its output could exhaust memory here.
            if len(pending) > LINE_BYTES or read > NOISE_BYTES:
                raise DeviceError(self._host, "it answers without end", "check what answers there")

    async def _send(self, stdin: "asyncssh.SSHWriter[bytes]", pieces: list[bytes], label: str = "") -> None:
        total, sent = sum(map(len, pieces)), 0
        # The program there has ended; its last answer says why.
        with contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                # In chunks, so that a dead connection is noticed within SILENCE_S whatever the size of a file.
                for start in range(0, len(piece), CHUNK):
                    stdin.write(piece[start : start + CHUNK])
                    await asyncio.wait_for(stdin.drain(), SILENCE_S)
                    sent += len(piece[start : start + CHUNK])
                    if label:
                        self._progress.work(label, sent, total)

    def _lost(self, why: str) -> DeviceError:
        if self._switching:
            return DeviceError(self._host, f"{why} while it switched", "current there names the old version or the new")
        return DeviceError(self._host, why, "the old version stays in service; run again")

    def _ended(self, process: "asyncssh.SSHClientProcess[bytes]") -> DeviceError:
        """The error for a remote program that ended without an answer."""
        status = process.exit_status or 0
        # A shell reports a program killed by a signal with exit code 128 plus the signal's number.
        if process.exit_signal or status > 128:
            killed = process.exit_signal[0] if process.exit_signal else f"signal {status - 128}"
            return self._lost(f"python was killed there ({shown(killed)}; has it memory enough?)")
        # A shell's exit codes for a command that cannot be executed (126) or is not found (127).
        if status in (126, 127):
            problem = f"no python there: {self._noise or 'the shell does not find it'}"
            return DeviceError(self._host, problem, "install python3, or name one with --python PATH")
        return DeviceError(
            self._host,
            f"no answer but {self._noise!r}" if self._noise else "no answer",
            "check that python3 runs there",
        )


def _quoted(python: str) -> str:
    """An interpreter for a shell, which may expand a leading ~."""
    return "~/" + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)


async def _first_bytes(stderr: "asyncssh.SSHReader[bytes]") -> str:
    """The last line of the first CHUNK of stderr; the rest is read, so that the program does not block, and dropped."""
    kept = b""
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await stderr.read(CHUNK):
            kept = (kept + piece)[:CHUNK]
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    return shown(lines[-1]) if lines else ""
