"""Measures exported files: their answers on val and test, and latency."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Dataset, Images, InUnits, Split
from edgekd.errors import ExportError
from edgekd.ondevice.child import in_own_process
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.latency import Latencies, interleaved
from edgekd.ondevice.rounds import Load
from edgekd.onnx_export import ort
from edgekd.stages.manifests import ExportedFile

Array: TypeAlias = np.ndarray[Any, Any]


def predictions(path: Path, split: Split, *, exact: bool = False) -> Array:
    """A file's class for each image of a split, shape ``(count,)``; ``exact``: without fused kernels."""
    chosen: Array = ort.predict(ort.session(path, exact=exact), split.given).argmax(1)
    return chosen


def answers(file: ExportedFile, path: Path, data: Dataset) -> dict[str, torch.Tensor]:
    """The classes that a file chooses, int32: of test as shipped (its id) and exact, of val as shipped.

    Args:
        file: as the export describes it; one that exists only for comparison is not run on val.
        path: its path.
        data: the images.
    """
    runs = {file.id: (data.test, False)}
    if file.integers:
        runs[f"{file.id}/exact"] = (data.test, True)
    if file.role == "model":
        runs[f"{file.id}/val"] = (data.val, False)
    return {
        key: torch.from_numpy(predictions(path, split, exact=exact).astype(np.int32))
        for key, (split, exact) in runs.items()
    }


def filled(images: Images | InUnits, batch: int) -> Array:
    """One batch of images, shape ``(batch, ...)``; repeated if there are fewer."""
    pixels: Array = images[torch.arange(batch) % len(images)].numpy()
    return pixels


def measure_costs(path: Path, target: Target) -> dict[str, Any]:
    """What a file costs before it answers, see ``edgekd.ondevice.rounds.costs_of``: in a process of its own."""
    found: dict[str, Any] = in_own_process("costs", [path], Load(target.threads, target.batch))
    return found


def measure_latency(
    paths: Sequence[Path], pixels: Array, threads: int, *, seed: int, progress: Progress, label: str
) -> Latencies:
    """Run several files in randomly interleaved rounds of several processes (``edgekd.ondevice.latency``).

    Args:
        paths: the files.
        pixels: one batch of images, shape ``(batch, height, width, channels)``.
        threads: of one inference.
        seed: of the order.
        progress: informed about the rounds.
        label: name of the work.

    Raises:
        ExportError: ONNX Runtime refuses a file, or a process died.
    """
    load = Load(threads, len(pixels), pixels)
    return latencies(paths, load, seed, lambda done, total: progress.work(label, done, total))


def latencies(paths: Sequence[Path], load: Load, seed: int, told: Callable[[int, int], None]) -> Latencies:
    """``edgekd.ondevice.latency.interleaved``, with Fault re-raised as ExportError."""
    try:
        return interleaved(paths, load, seed, told)
    except Fault as fault:
        raise ExportError(fault.where, fault.problem, fault.remedy) from None
