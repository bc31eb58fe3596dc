"""Generated data in the shapes of MLPerf Tiny's four tasks, as pipeline files name them: ``tests.mlperf_tiny:NAME``."""

from typing import Any

import numpy as np

CLASSES = 3


def _parts(shape: tuple[int, int, int], low: float, high: float, kind: str) -> dict[str, Any]:
    """Noise in the lower half of a range, and a band of rows at its top, whose place is the class."""
    rows = shape[0] // CLASSES

    def part(count: int, seed: int) -> tuple[Any, Any]:
        labels = np.arange(count) % CLASSES
        values = np.random.default_rng(seed).uniform(low, (low + high) / 2, (count, *shape))
        for image, label in zip(values, labels, strict=True):
            image[rows * label : rows * (label + 1)] += (high - low) / 2
        return values.astype(kind), labels

    return {"class_names": ["a", "b", "c"], "train": part(96, 0), "val": part(30, 1), "test": part(30, 2)}


def keywords() -> dict[str, Any]:
    return _parts((49, 10, 1), -40.0, 40.0, "float32")


def pictures() -> dict[str, Any]:
    return _parts((32, 32, 3), 0.0, 255.0, "uint8")


def persons() -> dict[str, Any]:
    return _parts((96, 96, 3), 0.0, 255.0, "uint8")


def machines() -> dict[str, Any]:
    return _parts((5, 128, 1), -80.0, 0.0, "float32")
