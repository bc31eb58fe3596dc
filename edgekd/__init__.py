"""edgekd: prune, distil, quantize and prove image classifiers for small CPUs."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.pipeline import Pipeline
    from edgekd.pipeline.steps import compare, export, measure, prune, quantize, verify
    from edgekd.training.losses import dist_loss, dkd_loss, kd_loss

__all__ = [
    "Pipeline",
    "compare",
    "dist_loss",
    "dkd_loss",
    "export",
    "kd_loss",
    "measure",
    "prune",
    "quantize",
    "verify",
]

_MODULES = {
    "Pipeline": "edgekd.pipeline",
    **dict.fromkeys(("dist_loss", "dkd_loss", "kd_loss"), "edgekd.training.losses"),
}

# torchao 0.18.0 makes torch 2.14 warn of an enum when it is imported; this can go with the next torchao
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "edgekd.pipeline.steps")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
