"""Which GPU each of several processes trains on."""

import torch


def gpu_of(local_rank: int, local_processes: int, gpus: int) -> int | None:
    """The number of a process's own GPU; None where its machine has fewer GPUs than processes.

    Args:
        local_rank: the process's number on its machine.
        local_processes: how many there are on its machine.
        gpus: that torch sees on its machine.
    """
    return local_rank if gpus >= local_processes else None


def in_words(gpu: int | None, processes: int) -> str:
    """Where processes train, for a note; empty where there is no GPU to speak of.

    Args:
        gpu: this process's own; None: it trains on the CPU.
        processes: how many there are.
    """
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu is None:
        return f"training on the CPU: {processes} processes, and torch sees {_gpus(seen)}" if seen else ""
    name = torch.cuda.get_device_name(gpu)
    return f"training on the GPU ({name})" if processes == 1 else f"training on {_gpus(processes)} ({name})"


def _gpus(count: int) -> str:
    return f"{count} GPU" + ("s" if count != 1 else "")
