"""What one process measures: the latency of files in randomly interleaved rounds, or the memory of one file."""

import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from edgekd.ondevice.machine import peak_rss_bytes
from edgekd.ondevice.sessions import noise_for, open_session

BLOCKS_PER_PROCESS, ROUNDS_PER_BLOCK = 2, 5
ROUNDS_PER_PROCESS = BLOCKS_PER_PROCESS * ROUNDS_PER_BLOCK
# Short, so that a slow phase of the machine hits all files of a round and cancels in their ratio.
SECONDS_PER_VISIT = 0.004
# The first runs of a session allocate memory and fill caches.
WARM_UP_SECONDS = 0.03
OPENINGS = 5


class Load(NamedTuple):
    """The input of a measurement.

    Args:
        threads: of one inference.
        batch: images of one inference.
        pixels: images, uint8, shape ``(batch, height, width, channels)``; None: noise of the shape that a file takes.
    """

    threads: int
    batch: int
    pixels: Any = None


def timed(
    files: Sequence[Path], load: Load, seed: Sequence[int], told: Callable[[Dict[str, Any]], None]
) -> Dict[str, Any]:
    """Run several files in randomly interleaved rounds.

    Each round runs every file in random order for a few milliseconds, so that a slow phase of the machine affects all
    files equally. Every few rounds all sessions are created again, in random order: the addresses of a session's
    memory change its latency by a few per cent, which must not look like a difference between files.

    Args:
        files: ONNX files.
        load: what they are run on.
        seed: of the order.
        told: called with ``file``, the index of a file about to be opened and run, or with ``rounds``, the number done.

    Returns:
        Plain data, milliseconds: ``runs_ms``, every run of each file; ``rounds_ms``, each file's median per round.
    """
    order = np.random.RandomState(list(seed))
    runs_ms: List[List[float]] = [[] for _ in files]
    rounds_ms: List[List[float]] = [[] for _ in files]
    for _ in range(BLOCKS_PER_PROCESS):
        runners = {}
        for which in order.permutation(len(files)):
            told({"file": int(which)})
            runners[which] = _opened(files[which], load)
        for _ in range(ROUNDS_PER_BLOCK):
            for which in order.permutation(len(files)):
                runner, feed, runs = runners[which]
                times = [_time_ms(runner, feed) for _ in range(runs)]
                runs_ms[which] += times
                rounds_ms[which].append(float(np.median(times)))
            told({"rounds": len(rounds_ms[0])})
    return {"runs_ms": runs_ms, "rounds_ms": rounds_ms}


def costs_of(file: Path, load: Load) -> Dict[str, Any]:
    """What a file costs before it answers.

    Returns:
        ``peak_rss_bytes`` of this process after it has run the file, None if unknown; ``load_ms``: how long ONNX
        Runtime takes to open it.
    """
    _opened(file, load)
    peak = peak_rss_bytes()
    times = []
    # After the first, which also reads ONNX Runtime itself from disk; and after the peak was taken, to which a second
    # session would add.
    for _ in range(OPENINGS):
        begin = time.perf_counter()
        open_session(file, load.threads)
        times.append((time.perf_counter() - begin) * 1000)
    return {"load_ms": float(np.median(times)), "peak_rss_bytes": peak}


def pin(threads: int) -> None:
    """Pin this process to the last ``threads`` CPUs that it may use."""
    # Pinned, because a thread that moves to another core finds its caches cold. The last CPUs, because Linux serves
    # interrupts and its own work mostly on the first.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


def _opened(file: Path, load: Load) -> Tuple[Any, Dict[str, Any], int]:
    """A warmed-up session, its input, and how many runs it makes per round."""
    runner = open_session(file, load.threads)
    given = {} if load.pixels is None else {runner.get_inputs()[0].name: load.pixels}
    feed = given or noise_for(runner, load.batch, file.name)
    begin = time.perf_counter()
    times: List[float] = []
    # At least three: for a model slower than the warm-up the median would be its cold first run.
    while time.perf_counter() - begin < WARM_UP_SECONDS or len(times) < 3:
        times.append(_time_ms(runner, feed))
    return runner, feed, int(min(50, max(1, SECONDS_PER_VISIT * 1000 / float(np.median(times)))))


def _time_ms(runner: Any, feed: Dict[str, Any]) -> float:
    begin = time.perf_counter()
    runner.run(None, feed)
    return (time.perf_counter() - begin) * 1000
