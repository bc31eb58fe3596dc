"""Seeds, and the record of versions and machine."""

import importlib.metadata
import os
import platform
import random

from edgekd.ondevice.machine import usable_cores

PACKAGES = ("edgekd", "torch", "torchvision", "torchao", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "numpy")


def seed_everything(seed: int) -> None:
    """Seed every random number generator in use, and switch torch to deterministic kernels."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # Without a fixed workspace cuBLAS matrix products are not reproducible to the bit.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # warn_only: a network must be trainable even if one of its GPU kernels has no deterministic version.
    torch.use_deterministic_algorithms(True, warn_only=True)


def environment() -> dict[str, str]:
    """Versions and machine, for the record.

    The same file and seed give bit-identical weights if versions, vector instructions, training threads and GPU are the
    same; otherwise sums may be rounded in another order.
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
