"""edgekd: prune, distil, quantize and prove image classifiers for small CPUs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.pipeline import Pipeline

__all__ = ["Pipeline"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line need not wait for torch."""
    if name == "Pipeline":
        from edgekd.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
