"""What every test shares: the number of threads, and a user without root's rights."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded: its waiting threads leave the cores

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.devices import make_bundle, make_python, oldest_python, this_python

torch.set_num_threads(1)
"""For fixtures too: results do not depend on the machine's number of cores, which other tests use meanwhile."""


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Content is no name: a packed file holds the second in which it was made."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may read and write everything: for one test it is nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="session")
def pristine_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle, not to be changed."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def bundle(pristine_bundle: Path, tmp_path: Path) -> Path:
    """A small bundle of one's own."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "small"))


@pytest.fixture(scope="session")
def newest_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that holds numpy and the newest ONNX Runtime."""
    return make_python(tmp_path_factory.mktemp("newest") / "venv", this_python(), "numpy", "onnxruntime")


@pytest.fixture(scope="session")
def oldest_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python 3.9 that holds numpy, the oldest ONNX Runtime that reads our files, and Pillow."""
    packages = ("numpy<2", "onnxruntime==1.18.*", "Pillow")
    return make_python(tmp_path_factory.mktemp("oldest") / "venv", oldest_python(), *packages)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command line, run in this process, takes signals over: they are given back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
