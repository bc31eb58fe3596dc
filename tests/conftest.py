"""One number of threads for every test, so that results do not depend on the machine."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(2)
