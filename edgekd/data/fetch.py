"""Images by number, on the device that trains; for a GPU a thread reads them ahead."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from edgekd.data.stored import Images

CPU = torch.device("cpu")
AHEAD = 4
"""Batches that wait in memory for a GPU."""
Rows: TypeAlias = slice | Tensor
K = TypeVar("K")
T = TypeVar("T")


def fetched(
    images: Images, labels: Tensor, chosen: Iterable[Rows], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images, still uint8, and their labels, batch by batch.

    A GPU is not waited for: its next batches are read by a thread, and copied while it computes.

    Args:
        images: uint8, shape ``(count, height, width, channels)``.
        labels: shape ``(count,)``.
        chosen: the numbers of each batch.
        device: where they are wanted.
    """
    if device == CPU:
        for rows in chosen:
            yield images[rows], labels[rows]
        return
    # Only pinned memory can be copied while the program goes on.
    read = lambda rows: (images[rows].contiguous().pin_memory(), labels[rows].pin_memory())  # noqa: E731
    for pixels, numbers in ahead(read, chosen, AHEAD):
        yield pixels.to(device, non_blocking=True), numbers.to(device, non_blocking=True)


def ahead(make: Callable[[K], T], keys: Iterable[K], count: int) -> Generator[T, None, None]:
    """What ``make`` gives for each key, in order, made by a thread which is at most ``count`` ahead of the caller.

    Its errors are raised where the value would have come. The thread ends with the iterator, also where that is closed
    early.
    """
    waiting: deque[Future[T]] = deque()
    thread = ThreadPoolExecutor(1)
    try:
        for key in keys:
            waiting.append(thread.submit(make, key))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
