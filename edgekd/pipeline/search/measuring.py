"""Measures files of several trials beside one another: answers on one split, latency in the same rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Dataset
from edgekd.ondevice.latency import PROCESSES, ROUNDS, Latencies
from edgekd.ondevice.rounds import Load
from edgekd.onnx_export import ort
from edgekd.report.measuring import latencies, predictions
from edgekd.report.subject import MEASURE_VERSION, host_facts, read_latencies, write_latencies
from edgekd.stages.manifests import ExportedFile, Measurements
from edgekd.store.artifacts import Artifact, Store, digest_of
from edgekd.store.tensors import load_tensors, save_tensors

SplitName = Literal["val", "test"]
_CLASSES = "classes.safetensors"


@dataclass(frozen=True)
class TrialFile:
    """An exported file of a trial, and the images that it takes.

    Args:
        about: as its export describes it.
        stage: kind of the stage that made it.
        exported: the artifact that it lies in.
    """

    about: ExportedFile
    stage: str
    exported: Artifact
    data: Dataset

    @property
    def path(self) -> Path:
        return self.exported.folder / self.about.file


@dataclass(frozen=True)
class Measurer:
    """Measures on this machine, and reads what was measured on it before.

    Args:
        seed: of the order of the rounds.
    """

    store: Store
    target: Target
    seed: int
    progress: Progress

    def right(self, file: TrialFile, split: SplitName) -> torch.Tensor:
        """Which images of a split a file gets right, as shipped; bool, shape ``(count,)``."""
        facts = {"answers": file.about.sha256, "splits": [split], "images": file.data.fingerprint()}
        images = file.data.val if split == "val" else file.data.test

        def write(folder: Path) -> None:
            file.exported.path(file.about.file)
            classes = predictions(file.path, images).astype(np.int32)
            save_tensors(folder / _CLASSES, {"classes": torch.from_numpy(classes)})

        found = self._measured(facts, [file], write)
        return load_tensors(found, _CLASSES)["classes"] == images.labels

    def latencies(self, files: Sequence[TrialFile]) -> Latencies:
        """Each file's latency, all in the same interleaved rounds, on noise of the shape that each takes."""
        facts = {
            "latencies": [file.about.sha256 for file in files],
            "target": {"threads": self.target.threads, "batch": self.target.batch},
            "processes": PROCESSES,
            "rounds": ROUNDS,
        }

        def write(folder: Path) -> None:
            paths = [file.exported.path(file.about.file) for file in files]
            load = Load(self.target.threads, self.target.batch)
            told = lambda done, total: self.progress.work("latency", done, total)  # noqa: E731
            write_latencies(latencies(paths, load, self.seed, told), folder)

        return read_latencies(self._measured(facts, files, write))

    def _measured(
        self, facts: Mapping[str, Any], files: Sequence[TrialFile], write: Callable[[Path], None]
    ) -> Artifact:
        digest = digest_of({"stage": "measure", "version": MEASURE_VERSION, "host": host_facts(), **facts})
        with self.store.in_use([digest]), self.store.claimed(digest, self.progress.note) as found:
            if found is not None:
                return found
            parents = {f"export {number}": file.exported.digest for number, file in enumerate(files)}
            made = Measurements(saturates=ort.saturates(), parents=parents)
            with self.store.writing(digest, made.model_dump()) as folder:
                write(folder)
            saved = self.store.find(digest)
            assert saved is not None
            return saved
