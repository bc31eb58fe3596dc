"""A teacher's answers to batches that come again: computed once, then read from a file."""

import hashlib
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgekd.data import Batch
from edgekd.store.disk import disk_errors, reading

CHECKSUM_BYTES = 16


class KeptAnswers:
    """A network's logits, float32, one record for each batch of a file: memory does not grow with the number of images.

    Read, not memory-mapped: mapped pages would count as this process's memory. A record that was never written, or only
    in part by a run that was killed, fails its checksum and is computed again.

    Args:
        path: the file, created if missing; only ever for one network, one seed and one division into batches.
        classes: that the network tells apart.

    Raises:
        ArtifactError: the disk refuses.
    """

    def __init__(self, path: Path, classes: int) -> None:
        self._path, self._classes = path, classes
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, self._file)

    def of(self, batch: Batch, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """The logits of a batch that has a place: those in the file, else what ``ask`` gives, which is then written.

        Args:
            batch: one that comes again.
            ask: the network; takes images.

        Returns:
            float32, shape ``(batch, classes)``.
        """
        assert batch.place is not None
        found = self._read(batch.place, len(batch.labels))
        if found is None:
            found = ask(batch.images).float()
            self._write(batch.place, found)
        return found.to(batch.images.device, non_blocking=True)

    def _read(self, place: int, images: int) -> Tensor | None:
        size = CHECKSUM_BYTES + 4 * images * self._classes
        with reading(self._path):
            record = os.pread(self._file, size, place * size)
        checksum, numbers = record[:CHECKSUM_BYTES], record[CHECKSUM_BYTES:]
        if checksum != _checksum(place, numbers):
            return None
        return torch.from_numpy(np.frombuffer(numbers, np.float32).copy()).reshape(images, self._classes)

    def _write(self, place: int, logits: Tensor) -> None:
        numbers = logits.cpu().contiguous().numpy().tobytes()
        record = _checksum(place, numbers) + numbers
        with disk_errors(self._path):
            os.pwrite(self._file, record, place * len(record))


def _checksum(place: int, numbers: bytes) -> bytes:
    return hashlib.blake2b(place.to_bytes(8, "little") + numbers, digest_size=CHECKSUM_BYTES).digest()
