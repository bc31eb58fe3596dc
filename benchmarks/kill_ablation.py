"""Killed again and again at random moments, does an ablation end with the figures of one that was left alone?

    OMP_NUM_THREADS=1 python -m benchmarks.kill_ablation 10 > benchmarks/kill_ablation.txt

An ablation of the smallest chain, two seeds, in a fresh folder: at random moments within the time that it takes
undisturbed its process gets SIGKILL, and the next one goes on in the same folder; the last is left to end. All figures
but latencies must be those of the undisturbed one, and so must the bits of every artifact.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks import tiny_runs
from edgekd.config.progress import Progress
from edgekd.pipeline.ablation import Wanted, ablate, planned
from tests.chain import TINY, write_pipeline

WANTED = Wanted(seeds=2, arms=("labels", "scratch", "ptq"), own=("distill.temperature=2",))
OF_THE_CLOCK = ("created", "latency_ratio", "latency_p50_ms")


def main() -> None:
    kills, generator = int(sys.argv[1]), random.Random(0)  # noqa: S311  (no secret)
    with tempfile.TemporaryDirectory() as scratch:
        alone, killed = Path(scratch) / "alone", Path(scratch) / "killed"
        began = time.monotonic()
        assert ended(start(alone)) == 0
        seconds = time.monotonic() - began
        print(tiny_runs.machine())
        print(
            f"undisturbed: {seconds:.1f} s, {len(figures(alone)['runs'])} runs, {len(bits(alone))} files in the store"
        )
        for number in range(kills):
            after = kill(start(killed), generator.uniform(0, 2 * seconds / kills))
            print(f"kill {number + 1} after {after:.1f} s: {len(whole(killed))} artifacts whole", flush=True)
            check(killed, alone)
        assert ended(start(killed)) == 0
        check(killed, alone)
        assert bits(killed) == bits(alone)
        assert figures(killed) == figures(alone)
    print(f"killed {kills} times: the same figures, and the same bits of every artifact")


def start(folder: Path) -> int:
    """Begin or go on with the ablation in a folder; the number of its process."""
    folder.mkdir(exist_ok=True)
    file = write_pipeline(folder, TINY)
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        ablate(planned(file, (), WANTED), folder / "models", folder / "exports", Progress())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill(process: int, seconds: float) -> float:
    """End a process after a while; the seconds that it had."""
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    assert ended(process) in (-signal.SIGKILL, 0)
    return seconds


def ended(process: int) -> int:
    """Wait for a process; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def whole(folder: Path) -> set[str]:
    """What the store takes for whole."""
    return {path.name for path in (folder / "models").glob("?" * 16)}


def bits(folder: Path) -> dict[str, str]:
    """The checksum of every file of whole artifacts that holds no times."""
    return {name: found for name, found in tiny_runs.bits(folder).items() if name.startswith("models")}


def check(folder: Path, other: Path) -> None:
    """What is whole has the other folder's bits."""
    wanted = bits(other)
    assert all(wanted[name] == found for name, found in bits(folder).items())


def figures(folder: Path) -> dict[str, Any]:
    """What an ablation says, but for latencies and the time it was made."""
    found: dict[str, Any] = timeless(json.loads((folder / "exports" / "tiny" / "ablation.json").read_text("utf-8")))
    return found


def timeless(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: timeless(value) for key, value in found.items() if key not in OF_THE_CLOCK}
    return [timeless(value) for value in found] if isinstance(found, list) else found


if __name__ == "__main__":
    main()
