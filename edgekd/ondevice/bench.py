"""Latency of several files on this machine, as plain data."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from edgekd.ondevice.child import in_own_process
from edgekd.ondevice.contents import sha256_of
from edgekd.ondevice.faults import Fault, printable
from edgekd.ondevice.latency import interleaved, paired_ratio, percentiles
from edgekd.ondevice.machine import machine_facts, slowed_down, temperature_c, throttle_marks, usable_cores
from edgekd.ondevice.rounds import Load

BENCH_FORMAT = 2
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
        told: called with the number of rounds done and their total.

    Returns:
        Plain data: ``machine``, ``threads``, ``batch``, ``files`` (``file``, ``name``, ``sha256``,
        percentiles ``latency_ms``, ``ratio`` with ``ci95``, ``rounds_ms``, and of a process that ran the file
        alone ``load_ms`` and ``peak_rss_bytes``), ``temperature_c`` (before, after), ``throttled``.

    Raises:
        Fault: a file that ONNX Runtime refuses, or of unknown input; more threads than cores; a process died.
    """
    # Pinning would silently give fewer CPUs than threads, which would then take turns on them.
    if threads > usable_cores():
        raise Fault("--threads", f"{threads} threads on {usable_cores()} cores", "ask for no more than there are")
    load = Load(threads, batch)
    before = temperature_c(), throttle_marks()
    found = interleaved(files, load, seed, told)
    after = temperature_c(), throttle_marks()
    return {
        "format": BENCH_FORMAT,
        "machine": machine_facts(),
        "threads": threads,
        "batch": batch,
        "files": [
            # A process of its own for each file: peak memory never falls, so in a shared one every later file would be
            # charged for the largest before it.
            {**_about(path, found, index), **in_own_process("costs", [path], load)}
            for index, path in enumerate(files)
        ],
        "temperature_c": [before[0], after[0]],
        "throttled": slowed_down(before[1], after[1]),
    }


def _about(path: Path, found: Any, index: int) -> Dict[str, Any]:
    ratio, ci95 = paired_ratio(found.rounds_ms[index], found.rounds_ms[0]) if index else (1.0, (1.0, 1.0))
    return {
        "file": path.name,
        "name": path.name,
        "sha256": sha256_of(path),
        "latency_ms": percentiles(found.runs_ms[index]),
        "ratio": ratio,
        "ci95": list(ci95),
        "rounds_ms": [round(float(value), 6) for value in found.rounds_ms[index]],
    }


def bench_lines(found: Mapping[str, Any]) -> List[str]:
    """The figures as lines of a table: the machine, the header, one for each file, what the kernel reported."""
    machine, names = found["machine"], [printable(about["name"]) for about in found["files"]]
    width = max(4, *(len(name) for name in names))
    where = f"{machine['cpu']}, {machine['isa']}, ONNX Runtime {machine['onnxruntime']}"
    lines = [
        printable(f"{where}, {_count(found['threads'], 'thread')}, batch {found['batch']}"),
        f"{'file':{width}}  {'p50 ms':>8}  {'p90 ms':>8}  {'p99 ms':>8}  {'load ms':>7}  {'peak MB':>7}  ratio [95 %]",
    ]
    for name, about in zip(names, found["files"]):
        latency, first = about["latency_ms"], about is found["files"][0]
        figures = "  ".join(f"{latency[key]:8.3f}" for key in ("p50", "p90", "p99"))
        ratio = "1 (the others are divided by it)" if first else _ratio(about)
        lines.append(f"{name:{width}}  {figures}  {about['load_ms']:7.1f}  {_memory(about)}  {ratio}")
    return [*lines, *_kernel_lines(found)]


def _kernel_lines(found: Mapping[str, Any]) -> List[str]:
    lines, after = [], found["temperature_c"][1]
    if after is not None:
        lines.append(f"temperature at the end: {after:.0f} C")
    if found["throttled"]:
        lines.append("WARNING: the CPU was slowed down meanwhile; measure again once it runs at its full clock")
    return lines


def _memory(about: Mapping[str, Any]) -> str:
    peak = about["peak_rss_bytes"]
    return f"{'?' if peak is None else f'{peak / 1e6:.0f}':>7}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _ratio(about: Dict[str, Any]) -> str:
    low, high = about["ci95"]
    text = f"{about['ratio']:.3f} [{low:.3f}, {high:.3f}]"
    return f"{text} {NO_DIFFERENCE}" if low <= 1 <= high else text
