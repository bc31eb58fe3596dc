"""Seeds, threads, the record of versions and CPU, and how progress is told."""

import importlib.metadata
import os
import platform
import random
from collections.abc import Mapping

from edgekd.ondevice.machine import usable_cores

PACKAGES = ("edgekd", "torch", "torchvision", "torchao", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "numpy")


class Progress:
    """Told what happens while a pipeline runs; this one keeps silent.

    A front end overrides what it wants to show. Nothing else in edgekd prints.
    """

    def note(self, text: str) -> None:
        """A line for the user."""

    def stage(self, label: str, index: int, total: int) -> None:
        """A stage begins: number ``index`` of ``total``, from 0."""

    def work(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` pieces of the work named ``label`` are ready."""

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """One pass over the training split ended with these figures."""


def seed_everything(seed: int) -> None:
    """Give every random number generator in use the same seed, and torch its deterministic kernels."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # a GPU's matrix products repeat to the bit only so
    torch.use_deterministic_algorithms(True, warn_only=True)


def environment() -> dict[str, str]:
    """Versions and machine, for the record.

    The same file and seed give the same weights to the bit where versions, vector instructions, training threads and
    GPU are the same; elsewhere sums may be rounded in another order.
    """
    import torch

    versions = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(usable_cores()),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "training threads": str(torch.get_num_threads()),
        **versions,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
