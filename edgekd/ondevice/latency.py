"""Latency in interleaved rounds, and the ratio of two files with its interval."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from edgekd.ondevice.sessions import open_session

BLOCKS, ROUNDS_PER_BLOCK = 16, 6
ROUNDS = BLOCKS * ROUNDS_PER_BLOCK
STUDENT_T = 2.1314
"""Student's t, two-sided 95 %, for 15 degrees of freedom."""
REPEATABILITY = 0.01
"""What the same file differs from itself by, at most, for reasons that no number of rounds averages out."""
SECONDS_PER_VISIT = 0.004
WARM_UP_SECONDS = 0.03


@dataclass(frozen=True)
class Latencies:
    """What interleaved rounds gave.

    Args:
        runs_ms: every run of each file, milliseconds.
        rounds_ms: each file's median per round, shape ``(files, rounds)``.
    """

    runs_ms: List[Any]
    rounds_ms: Any


def interleaved(
    paths: Sequence[Path], feeds: Sequence[Dict[str, Any]], threads: int, seed: int, told: Callable[[int, int], None]
) -> Latencies:
    """Run several files in randomly interleaved rounds, pinned to as many CPUs as there are threads.

    Each round visits every file once, in random order, and runs it for a few milliseconds; so whatever slows the
    machine down for a while slows all files down alike. Every few rounds all sessions are made anew: where a session's
    memory happens to lie makes a few per cent, which must not pass for a difference between files.

    Args:
        paths: the files.
        feeds: the inputs of each, by name.
        threads: of one inference.
        seed: of the order.
        told: is given the rounds done and their number.
    """
    order = np.random.RandomState(seed)
    all_runs: List[List[float]] = [[] for _ in paths]
    medians = np.zeros((len(paths), ROUNDS))
    with _pinned(threads):
        for block in range(BLOCKS):
            runners = {which: open_session(paths[which], threads) for which in order.permutation(len(paths))}
            runs = {which: _warm_up(runner, feeds[which]) for which, runner in runners.items()}
            for index in range(block * ROUNDS_PER_BLOCK, (block + 1) * ROUNDS_PER_BLOCK):
                for which in order.permutation(len(paths)):
                    times = [_time_ms(runners[which], feeds[which]) for _ in range(runs[which])]
                    all_runs[which] += times
                    medians[which, index] = np.median(times)
                told(index + 1, ROUNDS)
    return Latencies([np.array(times) for times in all_runs], medians)


def paired_ratio(rounds_ms: Any, others_ms: Any) -> Tuple[float, Tuple[float, float]]:
    """One file's latency divided by another's, with a 95 % interval.

    Each block of rounds gives one ratio of medians; the rounds of one block share their sessions and are alike, so
    blocks, not rounds, are counted. The interval is Student's of the mean of the blocks' logarithms, widened by what
    the same file differs from itself by.

    Args:
        rounds_ms: medians per round of the one, shape ``(rounds,)``.
        others_ms: of the other, in the same rounds.
    """
    logs = np.median(np.log(rounds_ms / others_ms).reshape(BLOCKS, ROUNDS_PER_BLOCK), axis=1)
    middle, error = float(logs.mean()), float(logs.std(ddof=1)) / BLOCKS**0.5
    half = STUDENT_T * error + REPEATABILITY
    return float(np.exp(middle)), (float(np.exp(middle - half)), float(np.exp(middle + half)))


def percentiles(runs_ms: Any) -> Dict[str, float]:
    """p50, p90 and p99 in milliseconds, and the number of runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(runs_ms, [50, 90, 99]))
    return {"p50": p50, "p90": p90, "p99": p99, "runs": len(runs_ms)}


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """This thread, and those it starts, on the last ``threads`` CPUs that it may use."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[-threads:]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _warm_up(runner: Any, feed: Dict[str, Any]) -> int:
    """Run for a while; how many runs a visit shall have."""
    begin = time.perf_counter()
    times: List[float] = []
    while time.perf_counter() - begin < WARM_UP_SECONDS or len(times) < 3:
        times.append(_time_ms(runner, feed))
    return int(min(50, max(1, SECONDS_PER_VISIT * 1000 / float(np.median(times)))))


def _time_ms(runner: Any, feed: Dict[str, Any]) -> float:
    begin = time.perf_counter()
    runner.run(None, feed)
    return (time.perf_counter() - begin) * 1000
