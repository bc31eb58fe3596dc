"""The same networks and calibration images through edgekd and other tools: latency, bytes, answers.

    pip install openvino nncf ncnn pnnx ai-edge-litert ai-edge-quantizer litert-torch
    OMP_NUM_THREADS=1 python -m benchmarks.peers models benchmarks/peers/results.md

One thread, batch 1. Latency in several processes, in each of which all files take turns; the ratio to edgekd's integer
file is Student's t over processes. What edgekd's files do inside (pixels to floats) is not timed for the others.
Nothing else may run meanwhile.
"""

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median, stdev

import torch
from scipy.stats import t

from benchmarks import tiny_runs
from benchmarks.peers.runtimes import OWN, RUNTIMES, Given
from benchmarks.peers.subjects import Subject, subjects
from benchmarks.peers.timing import answers, rounds
from edgekd.ondevice.machine import host_isa

PROCESSES = 8


def main() -> None:
    torch.set_num_threads(1)
    models, results = map(Path, sys.argv[1:])
    lines = ["# Beside other tools", "", f"{tiny_runs.machine()}, {host_isa()}; one thread, batch 1"]
    for subject in subjects(models):
        with tempfile.TemporaryDirectory() as scratch:
            lines += ["", f"## {subject.name}", "", *table(subject, Path(scratch))]
        results.write_text("\n".join(lines) + "\n")


def table(subject: Subject, scratch: Path) -> Iterator[str]:
    """What each tool makes of a network."""
    files = made(subject, scratch)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = [pool.apply(rounds, (files, subject.images[0], seed)) for seed in range(PROCESSES)]
    head, wanted = subject.right or ("", None)
    yield f"| file | kB | p50 ms | of edgekd's int8 [95 %] | {head} |"
    yield "|---|---:|---:|---:|---:|"
    for name, path in files.items():
        p50 = median([one for process in found for one in process[name]])
        ratio = ratio_in_words([median(process[name]) / median(process[OWN]) for process in found])
        share = "" if wanted is None else f"{(answers(name, path, subject.images) == wanted).mean():.1%}"
        yield f"| {name} | {RUNTIMES[name].size_bytes(path) / 1000:.0f} | {p50:.3f} | {ratio} | {share} |"


def made(subject: Subject, scratch: Path) -> dict[str, Path]:
    """Each tool's file; a tool that cannot is told of on standard error."""
    files = {}
    for number, (name, runtime) in enumerate(RUNTIMES.items()):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            files[name] = runtime.make(Given(subject.model, subject.spec, subject.calibration, folder))
            answers(name, files[name], subject.images[:1])
        except Exception:
            if name == OWN:
                raise
            files.pop(name, None)
            print(f"{name}:\n{traceback.format_exc()}", file=sys.stderr)
    return files


def ratio_in_words(ratios: list[float]) -> str:
    half = t.ppf(0.975, len(ratios) - 1) * stdev(ratios) / len(ratios) ** 0.5
    return f"{mean(ratios):.2f} [{mean(ratios) - half:.2f}, {mean(ratios) + half:.2f}]"


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread of one of the other tools' libraries keeps the process alive
