"""Measuring in a separate Python process: fresh memory, nothing loaded but numpy and ONNX Runtime."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from edgekd.ondevice.faults import Fault
from edgekd.ondevice.rounds import Load, costs_of, pin, timed

ANSWER = b"edgekd-answer: "
"""Prefix of the lines that the child writes for its parent."""


def in_own_process(
    do: str,
    files: Sequence[Path],
    load: Load,
    seed: Sequence[int] = (0,),
    told: Callable[[int], None] = lambda rounds: None,
) -> Any:
    """Measure files in a new process, and wait for it.

    Args:
        do: ``time`` (``rounds.timed``) or ``costs`` (``rounds.costs_of`` the first file).
        files: ONNX files.
        load: what they are run on.
        seed: of the order, and of the length of the environment, which decides where the stack begins.
        told: called with the number of rounds done.

    Returns:
        What it found, plain data.

    Raises:
        Fault: a file that ONNX Runtime refuses, or of unknown input; the process died.
    """
    names = [str(path.absolute()) for path in files]
    order = {"do": do, "files": names, "seed": list(seed), "threads": load.threads, "batch": load.batch}
    at: Optional[int] = None
    said = b""
    # The environment lies above the stack, so its length shifts every address on the stack, which alone changes run
    # times (Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously wrong"). Each process draws
    # another length, so that this averages out over processes.
    with _started(int(np.random.RandomState(list(seed)).randint(4096))) as child:
        try:
            _send(child, order, load.pixels)
            for line in child.stdout or ():
                answer = json.loads(line[len(ANSWER) :]) if line.startswith(ANSWER) else {}
                if "found" in answer:
                    return answer["found"]
                if "fault" in answer:
                    raise Fault(*answer["fault"])
                if "rounds" in answer:
                    told(answer["rounds"])
                at = answer.get("file") if answer else at
                said = said if answer else line.strip() or said
            child.wait()
        finally:
            # Ctrl-C must stop the child as well: if it went on measuring it would disturb whatever runs next.
            child.kill()
    raise _death(child.returncode, said, [files[at]] if at is not None else files)


def work() -> None:
    """Main function of the child: read an order from stdin, write answers to stdout, one line of JSON each."""
    order = json.loads(sys.stdin.buffer.readline())
    rest = sys.stdin.buffer.read()
    pixels = np.load(io.BytesIO(rest), allow_pickle=False) if rest else None
    load = Load(order["threads"], order["batch"], pixels)
    files = [Path(text) for text in order["files"]]
    try:
        pin(load.threads)
        if order["do"] == "costs":
            _say({"found": costs_of(files[0], load)})
        else:
            _say({"found": timed(files, load, order["seed"], _say)})
    except Fault as fault:
        _say({"fault": [fault.where, fault.problem, fault.remedy]})


def _started(padding: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "EDGEKD_PADDING": "x" * padding}
    try:
        # stderr shares the pipe of the answers: its last line says why a process died, and a second pipe that nobody
        # reads would fill up and block the process.
        return subprocess.Popen(  # noqa: S603
            _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError as error:
        raise Fault("latency", f"no process to measure in can be started: {error.strerror}") from None


def _command() -> List[str]:
    """A Python command that calls ``work`` of this file, be it edgekd's or a bundle's ``edgekd_run.py``.

    It gets this process's sys.path, so that it measures with the same packages.
    """
    file, places = str(Path(__file__).resolve()), [str(place) for place in sys.path]
    # ``-c`` puts the current folder first in sys.path: a user's numpy.py there would be imported instead of numpy.
    code = f"import sys; sys.path[:] = {places!r}; import runpy; runpy.run_path({file!r})['work']()"
    return [sys.executable, "-c", code]


def _send(child: "subprocess.Popen[bytes]", order: Dict[str, Any], pixels: Any) -> None:
    """Send the order; if the child has died already, its exit code says why."""
    content = io.BytesIO()
    if pixels is not None:
        np.save(content, pixels, allow_pickle=False)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.write(content.getbuffer())


def _say(answer: Dict[str, Any]) -> None:
    # A line break first: a library may have printed an unfinished line.
    sys.stdout.buffer.write(b"\n" + ANSWER + json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _death(code: int, said: bytes, files: Sequence[Path]) -> Fault:
    """Why the process ended without an answer."""
    where = ", ".join(path.name for path in files)
    # The signal that Linux sends when memory runs out.
    if code == -signal.SIGKILL:
        return Fault(where, "the process that measured it was killed", "is there enough memory?")
    if code < 0:
        return Fault(where, f"ONNX Runtime crashed on it ({signal.Signals(-code).name})")
    why = said.decode("utf-8", "replace")[:300] or f"exit code {code}"
    return Fault(where, f"the process that measured it failed: {why}")
