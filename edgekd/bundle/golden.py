"""Golden images: test images with known answers, and how far an answer may be from them elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.ondevice.sessions import logits_of_pixels, open_session

MOST_IMAGES, MOST_BYTES = 32, 8_000_000
ROUNDING = 1e-3
"""Float arithmetic in another order differs by less than this share of the largest logit."""
UNKNOWN_ROUNDING = 0.05
"""So much is allowed where this CPU cannot run the file as its target does."""


@dataclass(frozen=True)
class Golden:
    """Images with known answers.

    Args:
        images: uint8, shape ``(count, height, width, channels)``.
        logits: float32, shape ``(count, classes)``.
        labels: class numbers, shape ``(count,)``.
        tolerance: how far logits may be from these elsewhere.
        derived: where the tolerance comes from, a sentence.
    """

    images: Any
    logits: Any
    labels: Any
    tolerance: float
    derived: str


def spread(count: int, image_bytes: int) -> list[int]:
    """Which of ``count`` images become golden: evenly spread, not more than a bundle should carry."""
    most = max(1, min(count, MOST_IMAGES, MOST_BYTES // image_bytes))
    return [round(i * (count - 1) / max(1, most - 1)) for i in range(most)]


def golden_of(path: Path, images: Any, labels: Any, *, exact_here: bool) -> Golden:
    """The file's logits of images, and how far logits may be from them elsewhere.

    The tolerance is twice what two right ways of running this file differ by on these images: with ONNX Runtime's
    fused integer kernels, and operator by operator in float arithmetic, which rounds some values to the other side. A
    device has other kernels still, and may differ as much, to the other side.

    Args:
        path: the file.
        images: uint8, shape ``(count, height, width, channels)``.
        labels: shape ``(count,)``.
        exact_here: does this CPU multiply its weights without saturation?
    """
    exact = logits_of_pixels(open_session(path, exact=True), images)
    largest = float(np.abs(exact).max())
    # Answers of this CPU would have its saturation in them, which the target does not have.
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
