"""The subject of a report: a pipeline that has run, and everything measured on its files."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Dataset
from edgekd.ondevice.latency import PROCESSES, ROUNDS, Latencies, paired_ratio
from edgekd.ondevice.machine import cpu_name, host_isa
from edgekd.onnx_export import ort
from edgekd.report.fitting import Budget
from edgekd.report.measuring import answers, filled, measure_costs, measure_latency
from edgekd.stages.manifests import Costs, ExportedFile, ExportedFiles, Measurements, StageManifest, manifest_of
from edgekd.store.artifacts import Artifact, Store, digest_of
from edgekd.store.disk import disk_errors
from edgekd.store.tensors import load_tensors, save_tensors
from edgekd.training.environment import environment

LATENCY = "latency.json"
MEASURE_VERSION = 1
"""Increased when the way of measuring changes."""


@dataclass(frozen=True)
class Done:
    """A stage that has run: its kind, settings and artifact."""

    kind: str
    settings: dict[str, Any]
    artifact: Artifact

    @functools.cached_property
    def made(self) -> StageManifest:
        """The artifact's manifest."""
        return manifest_of(self.artifact, StageManifest)


@dataclass(frozen=True)
class Subject:
    """A pipeline that has run.

    Args:
        stages: by id, in order.
        sources: id -> id of the stage whose model it started from.
        data_settings: the pipeline's data settings, without paths.
    """

    name: str
    seed: int
    data: Dataset
    target: Target
    budget: Budget
    stages: Mapping[str, Done]
    sources: Mapping[str, str]
    data_settings: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """All measurements of the exported files, in the order of ``files``."""

    files: list[ExportedFile]
    folder: Path
    chosen: dict[str, torch.Tensor]
    latencies: Latencies
    saturates: bool
    costs: Mapping[str, Costs]

    def costs_of(self, id: str) -> dict[str, Any]:
        """What a file costs before it answers; empty where an older edgekd measured."""
        return self.costs[id].model_dump() if id in self.costs else {}

    def predictions(self) -> dict[str, torch.Tensor]:
        """Each exported file's class for every test image, in order."""
        return {file.id: self.chosen[file.id] for file in self.files}

    def ratio(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Paired latency ratio of two files."""
        ids = [file.id for file in self.files]
        return paired_ratio(self.latencies.rounds_ms[ids.index(one)], self.latencies.rounds_ms[ids.index(other)])


def measure(subject: Subject, exported: Artifact, store: Store, progress: Progress, force: bool = False) -> Measured:
    """Measure the exported files on ``val`` and ``test``, or read earlier measurements of this machine.

    This is the only place that reads ``test``.
    """
    digest = measurement_digest(exported.digest, subject.target)
    # The run protects only its stages' digests from collection; this one becomes known only here.
    with store.in_use([digest]), store.claimed(digest, progress.note) as found:
        if found is None or force:
            found = _measure(subject, exported, store, digest, progress)
        return _read(found, exported)


def measurement_digest(exported: str, target: Target) -> str:
    """The name under which this machine's measurements of exported files are stored; ``exported``: their digest."""
    counts = {"processes": PROCESSES, "rounds": ROUNDS}
    return digest_of(
        {
            "stage": "measure",
            "version": MEASURE_VERSION,
            "parents": {"export": exported},
            "host": host_facts(),
            "target": {"threads": target.threads, "batch": target.batch},
            **counts,
            "splits": ["val", "test"],
        }
    )


def host_facts() -> dict[str, str]:
    """What latency and rounding belong to: another CPU or ONNX Runtime must measure again."""
    return {"cpu": cpu_name(), "isa": host_isa(), "onnxruntime": environment()["onnxruntime"]}


def _measure(subject: Subject, exported: Artifact, store: Store, digest: str, progress: Progress) -> Artifact:
    made = manifest_of(exported, ExportedFiles)
    chosen: dict[str, torch.Tensor] = {}
    for done, file in enumerate(made.exported):
        progress.work("accuracy on val and test", done, len(made.exported))
        chosen |= answers(file, exported.path(file.file), subject.data)
    progress.work("accuracy on val and test", len(made.exported), len(made.exported))
    pixels = filled(subject.data.test.given, subject.target.batch)
    paths = [exported.folder / file.file for file in made.models]
    latencies = measure_latency(
        paths, pixels, subject.target.threads, seed=subject.seed, progress=progress, label="latency, interleaved rounds"
    )
    costs = {file.id: Costs(**measure_costs(exported.folder / file.file, subject.target)) for file in made.models}
    measured = Measurements(saturates=ort.saturates(), parents={"export": exported.digest}, costs=costs)
    with store.writing(digest, measured.model_dump()) as folder:
        save_tensors(folder / "predictions.safetensors", chosen)
        write_latencies(latencies, folder)
    saved = store.find(digest)
    assert saved is not None
    return saved


def write_latencies(latencies: Latencies, folder: Path) -> None:
    """Write latencies into an artifact; ``read_latencies`` reads them."""
    runs = [list(map(float, runs)) for runs in latencies.runs_ms]
    body = {"runs_ms": runs, "rounds_ms": latencies.rounds_ms.tolist()}
    with disk_errors(folder):
        (folder / LATENCY).write_text(json.dumps(body), encoding="utf-8")


def read_latencies(artifact: Artifact) -> Latencies:
    """Latencies that were measured before."""
    body = json.loads(artifact.read(LATENCY))
    return Latencies([np.array(runs) for runs in body["runs_ms"]], np.array(body["rounds_ms"]))


def _read(artifact: Artifact, exported: Artifact) -> Measured:
    latencies = read_latencies(artifact)
    chosen, files = load_tensors(artifact, "predictions.safetensors"), manifest_of(exported, ExportedFiles).models
    made = manifest_of(artifact, Measurements)
    return Measured(files, exported.folder, chosen, latencies, made.saturates, made.costs)
