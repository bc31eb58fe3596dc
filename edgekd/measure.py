"""Measuring exported files: what they answer, and their latency in interleaved rounds."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgekd import ort
from edgekd.data import Split
from edgekd.runtime import Progress

Array: TypeAlias = np.ndarray[Any, Any]
BLOCKS, ROUNDS_PER_BLOCK = 16, 6
ROUNDS = BLOCKS * ROUNDS_PER_BLOCK
FEW_BLOCKS = 1.12
"""A bootstrap over 16 blocks is too narrow by this: Student's t for 15 degrees over the normal's, and 16/15's root."""
SECONDS_PER_VISIT = 0.004
WARM_UP_SECONDS = 0.03


def predictions(path: Path, split: Split, *, exact: bool = False) -> Array:
    """The class that a file gives each image of a split, shape ``(count,)``; ``exact``: without fused kernels."""
    chosen: Array = ort.predict(ort.session(path, exact=exact), split.images).argmax(1)
    return chosen


@dataclass(frozen=True)
class Latencies:
    """What interleaved rounds gave.

    Args:
        runs_ms: every run of each file, milliseconds.
        rounds_ms: each file's median per round, shape ``(files, rounds)``.
    """

    runs_ms: list[Array]
    rounds_ms: Array


def measure_latency(
    paths: Sequence[Path], pixels: Array, threads: int, *, seed: int, progress: Progress, label: str
) -> Latencies:
    """Run several files in randomly interleaved rounds, pinned to as many CPUs as there are threads.

    Each round visits every file once, in random order, and runs it for a few milliseconds; so whatever slows the
    machine down for a while slows all files down alike. Every few rounds all sessions are made anew: where a session's
    memory happens to lie makes a few per cent, which must not pass for a difference between files.

    Args:
        paths: the files.
        pixels: one batch of uint8 images, shape ``(batch, height, width, channels)``.
        threads: of one inference.
        seed: of the order.
        progress: told about the rounds.
        label: names the work for it.
    """
    order = np.random.default_rng(seed)
    all_runs: list[list[float]] = [[] for _ in paths]
    medians = np.zeros((len(paths), ROUNDS))
    with _pinned(threads):
        for block in range(BLOCKS):
            runners = {which: ort.session(paths[which], threads) for which in order.permutation(len(paths))}
            feeds = {which: {runner.get_inputs()[0].name: pixels} for which, runner in runners.items()}
            runs = {which: _warm_up(runner, feeds[which]) for which, runner in runners.items()}
            for index in range(block * ROUNDS_PER_BLOCK, (block + 1) * ROUNDS_PER_BLOCK):
                for which in order.permutation(len(paths)):
                    times = [_time_ms(runners[which], feeds[which]) for _ in range(runs[which])]
                    all_runs[which] += times
                    medians[which, index] = np.median(times)
                progress.work(label, index + 1, ROUNDS)
    return Latencies([np.array(times) for times in all_runs], medians)


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


def _warm_up(runner: Any, feed: dict[str, Array]) -> int:
    """Run for a while; how many runs a visit shall have."""
    begin = time.perf_counter()
    times: list[float] = []
    while time.perf_counter() - begin < WARM_UP_SECONDS or len(times) < 3:
        times.append(_time_ms(runner, feed))
    return int(min(50, max(1, SECONDS_PER_VISIT * 1000 / float(np.median(times)))))


def _time_ms(runner: Any, feed: dict[str, Array]) -> float:
    begin = time.perf_counter()
    runner.run(None, feed)
    return (time.perf_counter() - begin) * 1000


def paired_ratio(rounds_ms: Array, others_ms: Array, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Median over rounds of one file's latency divided by another's, with a bootstrap 95 % interval.

    Whole blocks of rounds are drawn, not single rounds: the rounds of one block share their sessions and are alike.

    Args:
        rounds_ms: medians per round of the one, shape ``(rounds,)``.
        others_ms: of the other, in the same rounds.
        seed: of the resampling.
    """
    ratios = (rounds_ms / others_ms).reshape(BLOCKS, ROUNDS_PER_BLOCK)
    picks = np.random.default_rng(seed).integers(0, BLOCKS, (2000, BLOCKS))
    low, high = np.percentile(np.median(ratios[picks].reshape(2000, -1), axis=1), [2.5, 97.5])
    middle = float(np.median(ratios))
    return middle, (middle - FEW_BLOCKS * (middle - float(low)), middle + FEW_BLOCKS * (float(high) - middle))
