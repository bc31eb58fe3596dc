"""Which GPU a process has, and what is said of it."""

import pytest
import torch

from edgekd.training.gpus import gpu_of, in_words


def test_each_process_of_a_machine_has_a_gpu_of_its_own_or_none_has() -> None:
    assert [gpu_of(rank, 2, 2) for rank in range(2)] == [0, 1]
    assert [gpu_of(rank, 2, 8) for rank in range(2)] == [0, 1]
    assert [gpu_of(rank, 2, 1) for rank in range(2)] == [None, None]
    assert gpu_of(0, 1, 0) is None


def test_gpus_that_stay_idle_are_told_of_and_those_that_are_not_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_words(None, 2) == "" or torch.cuda.is_available()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"model {number}")

    assert in_words(None, 2) == "training on the CPU: 2 processes, and torch sees 1 GPU"
    assert in_words(1, 2) == "training on 2 GPUs (model 1)"
    assert in_words(0, 1) == "training on the GPU (model 0)"
