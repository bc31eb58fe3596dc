"""Latency over several processes, and the ratio of two files with its interval."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

import numpy as np

from edgekd.ondevice.child import in_own_process
from edgekd.ondevice.rounds import BLOCKS_PER_PROCESS, ROUNDS_PER_BLOCK, ROUNDS_PER_PROCESS, Load

PROCESSES = 10
ROUNDS = PROCESSES * ROUNDS_PER_PROCESS
# Depends on PROCESSES: another number of processes needs another quantile.
STUDENT_T = 2.2622
"""Student's t, two-sided 95 %, for 9 degrees of freedom."""
REPEATABILITY = 0.01
"""Half the 95 % interval of the difference between separate measurements of one file, for any number of processes."""
SAME_FILE = 0.015
"""Standard deviation between processes of the log ratio of a file to its own copy.

Variation beyond it comes from the machine and lasts longer than a measurement: a neighbour that fills the shared cache
slows a large file down more than a small one, for minutes (``benchmarks/same_file_twice.py``).
"""


@dataclass(frozen=True)
class Latencies:
    """Results of interleaved rounds.

    Args:
        runs_ms: every run of each file, milliseconds.
        rounds_ms: each file's median per round, shape ``(files, rounds)``; the rounds of one process stand together.
    """

    runs_ms: Sequence[Any]
    rounds_ms: Any


def interleaved(files: Sequence[Path], load: Load, seed: int, told: Callable[[int, int], None]) -> Latencies:
    """Run several files in interleaved rounds (``rounds.timed``) of several processes, one after the other.

    The addresses of a process's code, stacks and heap shift the latency of each file differently for as long as the
    process lives. So the ratio from one process is a single sample, however many rounds it runs. Each process is
    pinned to as many CPUs as there are threads.

    Args:
        files: ONNX files.
        load: what they are run on.
        seed: of the order.
        told: called with the number of rounds done and their total.

    Raises:
        Fault: a file that ONNX Runtime refuses, or of unknown input; a process died.
    """
    found = []
    for index in range(PROCESSES):
        before = index * ROUNDS_PER_PROCESS

        def count(rounds: int, before: int = before) -> None:
            told(before + rounds, ROUNDS)

        # RandomState takes words of 32 bits.
        found.append(in_own_process("time", files, load, (seed % 2**32, index), count))
    runs = [np.concatenate([process["runs_ms"][which] for process in found]) for which in range(len(files))]
    return Latencies(runs, np.concatenate([np.array(process["rounds_ms"]) for process in found], axis=1))


def paired_ratio(rounds_ms: Any, others_ms: Any) -> Tuple[float, Tuple[float, float]]:
    """One file's latency divided by another's, with a 95 % interval.

    Each process gives one log ratio: the mean of its blocks' medians. The interval is Student's t over processes, which
    includes the variation within them. Two errors that one measurement cannot average out are added as independent
    ones: variance between processes beyond that of a file and its copy, and the repeatability.

    Args:
        rounds_ms: medians per round of the one, shape ``(rounds,)``.
        others_ms: of the other, in the same rounds.
    """
    # In logarithms, so that exchanging the two files inverts the ratio and its interval exactly. The median of a block
    # ignores disturbed rounds. Each process yields a single sample for Student's t: its rounds share one memory layout,
    # and counting them as independent would give intervals that are far too narrow.
    rounds = np.log(rounds_ms / others_ms).reshape(PROCESSES, BLOCKS_PER_PROCESS, ROUNDS_PER_BLOCK)
    logs = np.median(rounds, axis=2).mean(axis=1)
    middle, variance = float(logs.mean()), float(logs.var(ddof=1))
    # The first term averages out over processes. The second does not: variance beyond that of a file against its copy
    # comes from states of the machine that outlast a measurement, so it is not divided.
    error = (variance / PROCESSES + max(0.0, variance - SAME_FILE**2)) ** 0.5
    half = float(np.hypot(STUDENT_T * error, REPEATABILITY))
    return float(np.exp(middle)), (float(np.exp(middle - half)), float(np.exp(middle + half)))


def percentiles(runs_ms: Any) -> Dict[str, float]:
    """p50, p90 and p99 in milliseconds, and the number of runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(runs_ms, [50, 90, 99]))
    return {"p50": p50, "p90": p90, "p99": p99, "runs": len(runs_ms)}
