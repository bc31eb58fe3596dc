"""Latency of several files on this machine, as plain data."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from edgekd.ondevice.faults import Fault, printable
from edgekd.ondevice.latency import interleaved, paired_ratio, percentiles
from edgekd.ondevice.machine import (
    machine_facts,
    peak_rss_bytes,
    slowed_down,
    temperature_c,
    throttle_marks,
    usable_cores,
)
from edgekd.ondevice.sessions import noise_for, open_session

BENCH_FORMAT = 1
NO_DIFFERENCE = "no difference measured"


def bench(
    files: Sequence[Path], threads: int, batch: int, seed: int, told: Callable[[int, int], None]
) -> Dict[str, Any]:
    """Measure files against one another in interleaved rounds; the ratios are to the first.

    Args:
        files: ONNX files.
        threads: of one inference.
        batch: images of one inference.
        seed: of the order.
        told: is given the rounds done and their number.

    Returns:
        Plain data: ``machine``, ``threads``, ``batch``, ``files`` (``file``, ``name``, percentiles ``latency_ms``,
        ``ratio`` with ``ci95``, ``rounds_ms``), ``peak_rss_bytes``, ``temperature_c`` (before, after), ``throttled``.

    Raises:
        Fault: a file that ONNX Runtime refuses, or of unknown input; more threads than cores.
    """
    if threads > usable_cores():
        raise Fault("--threads", f"{threads} threads on {usable_cores()} cores", "ask for no more than there are")
    feeds = [noise_for(open_session(path, threads), batch, path.name) for path in files]
    before = temperature_c(), throttle_marks()
    found = interleaved(files, feeds, threads, seed, told)
    after = temperature_c(), throttle_marks()
    return {
        "format": BENCH_FORMAT,
        "machine": machine_facts(),
        "threads": threads,
        "batch": batch,
        "files": [_about(path, found, index) for index, path in enumerate(files)],
        "peak_rss_bytes": peak_rss_bytes(),
        "temperature_c": [before[0], after[0]],
        "throttled": slowed_down(before[1], after[1]),
    }


def _about(path: Path, found: Any, index: int) -> Dict[str, Any]:
    ratio, ci95 = paired_ratio(found.rounds_ms[index], found.rounds_ms[0]) if index else (1.0, (1.0, 1.0))
    return {
        "file": path.name,
        "name": path.name,
        "latency_ms": percentiles(found.runs_ms[index]),
        "ratio": ratio,
        "ci95": list(ci95),
        "rounds_ms": [round(float(value), 6) for value in found.rounds_ms[index]],
    }


def bench_lines(found: Mapping[str, Any]) -> List[str]:
    """The figures as lines of a table: the machine, the header, one for each file, what the kernel told."""
    machine, names = found["machine"], [printable(about["name"]) for about in found["files"]]
    width = max(4, *(len(name) for name in names))
    where = f"{machine['cpu']}, {machine['isa']}, ONNX Runtime {machine['onnxruntime']}"
    lines = [
        printable(f"{where}, {_count(found['threads'], 'thread')}, batch {found['batch']}"),
        f"{'file':{width}}  {'p50 ms':>8}  {'p90 ms':>8}  {'p99 ms':>8}  ratio [95 %]",
    ]
    for name, about in zip(names, found["files"]):
        latency, first = about["latency_ms"], about is found["files"][0]
        figures = "  ".join(f"{latency[key]:8.3f}" for key in ("p50", "p90", "p99"))
        lines.append(f"{name:{width}}  {figures}  {'1 (the others are divided by it)' if first else _ratio(about)}")
    return [*lines, *_kernel_lines(found)]


def _kernel_lines(found: Mapping[str, Any]) -> List[str]:
    lines, after = [], found["temperature_c"][1]
    if found["peak_rss_bytes"] is not None:
        lines.append(f"peak memory of the process: {found['peak_rss_bytes'] / 1e6:.0f} MB")
    if after is not None:
        lines.append(f"temperature at the end: {after:.0f} C")
    if found["throttled"]:
        lines.append("WARNING: the CPU was slowed down meanwhile; measure again once it runs at its full clock")
    return lines


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _ratio(about: Dict[str, Any]) -> str:
    low, high = about["ci95"]
    text = f"{about['ratio']:.3f} [{low:.3f}, {high:.3f}]"
    return f"{text} {NO_DIFFERENCE}" if low <= 1 <= high else text
