"""edgekd: prune, distil, quantize and prove image classifiers for small CPUs."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.pipeline import Pipeline

__all__ = ["Pipeline"]

# torchao 0.18.0 makes torch 2.14 warn of an enum when it is imported; this can go with the next torchao
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line need not wait for torch."""
    if name == "Pipeline":
        from edgekd.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
