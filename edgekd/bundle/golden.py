"""Golden images: test images with known answers, and how far an answer may be from them elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.ondevice.sessions import logits_of_pixels, open_session

MOST_IMAGES, MOST_BYTES = 32, 8_000_000
ROUNDING = 1e-3
"""Share of the largest logit by which float arithmetic in another order differs at most."""
UNKNOWN_ROUNDING = 0.05
"""The same share if this CPU cannot run the file as its target does."""


@dataclass(frozen=True)
class Golden:
    """Golden images with their recorded logits.

    Args:
        images: uint8, shape ``(count, height, width, channels)``.
        logits: float32, shape ``(count, classes)``.
        labels: class numbers, shape ``(count,)``.
        tolerance: largest difference of a logit on another machine.
        derived: where the tolerance comes from, a sentence.
    """

    images: Any
    logits: Any
    labels: Any
    tolerance: float
    derived: str


def spread(count: int, image_bytes: int) -> list[int]:
    """Indices of the golden images among ``count``: evenly spread, limited in number and total size."""
    most = max(1, min(count, MOST_IMAGES, MOST_BYTES // image_bytes))
    return [round(i * (count - 1) / max(1, most - 1)) for i in range(most)]


def golden_of(path: Path, images: Any, labels: Any, *, exact_here: bool) -> Golden:
    """The file's logits of images, and the tolerance for other machines.

    The tolerance is twice the difference between two correct ways of running this file on these images: with ONNX
    Runtime's fused integer kernels, and operator by operator in float arithmetic, which rounds some ties the other way.
    A device has yet other kernels, which may differ as much in the opposite direction.

    Args:
        path: the file.
        images: uint8, shape ``(count, height, width, channels)``.
        labels: shape ``(count,)``.
        exact_here: does this CPU multiply its weights without saturation?
    """
    exact = logits_of_pixels(open_session(path, exact=True), images)
    largest = float(np.abs(exact).max())
    # As shipped, this CPU's answers would contain saturation that the target does not have.
    if not exact_here:
        derived = f"{UNKNOWN_ROUNDING} of the largest logit: this CPU cannot run the file as its target does"
        return Golden(images, exact, labels, UNKNOWN_ROUNDING * largest, derived)
    logits = logits_of_pixels(open_session(path), images)
    apart = float(np.abs(logits - exact).max())
    derived = (
        f"twice what fused kernels and operator-by-operator arithmetic differ by on these images ({apart:.4g}), "
        f"but at least {ROUNDING:g} of the largest logit ({largest:.4g})"
    )
    return Golden(images, logits, labels, max(2 * apart, ROUNDING * largest), derived)
