"""What every test shares: the number of threads, and a user without root's rights."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads() -> None:
    """Results do not depend on the machine's number of cores."""
    torch.set_num_threads(2)


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
