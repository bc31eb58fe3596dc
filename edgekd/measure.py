"""Measuring exported files: accuracy on test, latency, intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgekd import ort
from edgekd.data import Split
from edgekd.ondevice.latency import Latencies, interleaved
from edgekd.runtime import Progress

Array: TypeAlias = np.ndarray[Any, Any]


def predictions(path: Path, split: Split, *, exact: bool = False) -> Array:
    """The class that a file gives each image of a split, shape ``(count,)``; ``exact``: without fused kernels."""
    chosen: Array = ort.predict(ort.session(path, exact=exact), split.images).argmax(1)
    return chosen


def measure_latency(
    paths: Sequence[Path], pixels: Array, threads: int, *, seed: int, progress: Progress, label: str
) -> Latencies:
    """Run several files in randomly interleaved rounds (``edgekd.ondevice.latency``).

    Args:
        paths: the files.
        pixels: one batch of uint8 images, shape ``(batch, height, width, channels)``.
        threads: of one inference.
        seed: of the order.
        progress: told about the rounds.
        label: names the work for it.

    Raises:
        ExportError: ONNX Runtime refuses a file.
    """
    feeds = [{ort.session(path).get_inputs()[0].name: pixels} for path in paths]
    return interleaved(paths, feeds, threads, seed, lambda done, total: progress.work(label, done, total))
