"""Measures every exported file and puts the report together."""

import datetime
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd import ort
from edgekd.classes import count_classes, shortcomings
from edgekd.data import Dataset
from edgekd.manifests import (
    ExportedFile,
    ExportedFiles,
    FloatModel,
    IntegerModel,
    Measurements,
    Pruning,
    StageManifest,
    manifest_of,
)
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.latency import PROCESSES, ROUNDS, Latencies, paired_ratio, percentiles
from edgekd.ondevice.machine import cpu_name, host_isa
from edgekd.processes import ALONE
from edgekd.report.fitting import Budget
from edgekd.report.measuring import answers, filled, measure_latency
from edgekd.report.notes import measured_elsewhere, told_by_files, told_by_stages, trained_elsewhere
from edgekd.report.paired import drop_interval, paired_test, rivals
from edgekd.report.schema import (
    DataFacts,
    Drift,
    Epoch,
    Kernels,
    Latency,
    LayerWidth,
    ModelReport,
    Paired,
    Quantization,
    Ratio,
    Report,
    StageReport,
    TargetFacts,
    WeightBits,
)
from edgekd.report.verdict import choose
from edgekd.runtime import Progress, environment
from edgekd.significance import wilson_interval
from edgekd.store.artifacts import Artifact, Store, digest_of
from edgekd.store.disk import disk_errors
from edgekd.store.tensors import load_tensors, save_tensors
from edgekd.target import Target

MEASURE_VERSION = 1
"""Raised when the same files on the same machine are measured in another way than before."""


@dataclass(frozen=True)
class Done:
    """A stage that has run: its kind, its settings, and what it left."""

    kind: str
    settings: dict[str, Any]
    artifact: Artifact

    @functools.cached_property
    def made(self) -> StageManifest:
        """What the artifact says of itself."""
        return manifest_of(self.artifact, StageManifest)


@dataclass(frozen=True)
class Subject:
    """A pipeline that has run.

    Args:
        stages: by id, in order.
        sources: id -> id of the stage whose model it began with.
        data_settings: what the pipeline says of its images, without paths.
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
    """Everything that was measured on the exported files, in the order of ``files``."""

    files: list[ExportedFile]
    folder: Path
    chosen: dict[str, torch.Tensor]
    latencies: Latencies
    saturates: bool

    def predictions(self) -> dict[str, torch.Tensor]:
        """The class that each exported file gave every test image, in order."""
        return {file.id: self.chosen[file.id] for file in self.files}

    def ratio(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Paired latency ratio of two files."""
        ids = [file.id for file in self.files]
        return paired_ratio(self.latencies.rounds_ms[ids.index(one)], self.latencies.rounds_ms[ids.index(other)])


def measure(subject: Subject, exported: Artifact, store: Store, progress: Progress, force: bool = False) -> Measured:
    """Measure the exported files on ``val`` and ``test``, or read what was measured on this machine before.

    This is the only place that reads ``test``.
    """
    host = {"cpu": cpu_name(), "isa": host_isa(), "onnxruntime": environment()["onnxruntime"]}
    target = {"threads": subject.target.threads, "batch": subject.target.batch}
    counts = {"processes": PROCESSES, "rounds": ROUNDS}
    digest = digest_of(
        {
            "stage": "measure",
            "version": MEASURE_VERSION,
            "parents": {"export": exported.digest},
            "host": host,
            "target": target,
            **counts,
            "splits": ["val", "test"],
        }
    )
    with store.in_use([digest]), store.claimed(digest, progress.note) as found:
        if found is None or force:
            found = _measure(subject, exported, store, digest, progress)
        return _read(found, exported)


def _measure(subject: Subject, exported: Artifact, store: Store, digest: str, progress: Progress) -> Artifact:
    made = manifest_of(exported, ExportedFiles)
    chosen: dict[str, torch.Tensor] = {}
    for done, file in enumerate(made.exported):
        progress.work("accuracy on val and test", done, len(made.exported))
        chosen |= answers(file, file.path(exported), subject.data)
    progress.work("accuracy on val and test", len(made.exported), len(made.exported))
    pixels = filled(subject.data.test.images, subject.target.batch)
    paths = [exported.folder / file.file for file in made.models]
    latencies = measure_latency(
        paths, pixels, subject.target.threads, seed=subject.seed, progress=progress, label="latency, interleaved rounds"
    )
    measured = Measurements(saturates=ort.saturates(), parents={"export": exported.digest})
    with store.writing(digest, measured.model_dump()) as folder:
        save_tensors(folder / "predictions.safetensors", chosen)
        body = {
            "runs_ms": [list(map(float, runs)) for runs in latencies.runs_ms],
            "rounds_ms": latencies.rounds_ms.tolist(),
        }
        with disk_errors(folder):
            (folder / "latency.json").write_text(json.dumps(body), encoding="utf-8")
    saved = store.find(digest)
    assert saved is not None
    return saved


def _read(artifact: Artifact, exported: Artifact) -> Measured:
    body = json.loads(artifact.read("latency.json"))
    latencies = Latencies([np.array(runs) for runs in body["runs_ms"]], np.array(body["rounds_ms"]))
    chosen, files = load_tensors(artifact, "predictions.safetensors"), manifest_of(exported, ExportedFiles).models
    return Measured(files, exported.folder, chosen, latencies, manifest_of(artifact, Measurements).saturates)


def build_report(subject: Subject, exported: Artifact, measured: Measured) -> Report:
    """The report on what was measured."""
    models = [_model(subject, measured, i) for i in range(len(measured.files))]
    choice = choose(models, subject.budget, measured.ratio)
    models = [model.model_copy(update={"file": MODEL}) if model.id == choice.recommended else model for model in models]
    made = {name: stage.made for name, stage in subject.stages.items()}
    here = {**environment(), **ALONE.record()}
    return Report(
        pipeline=subject.name,
        seed=subject.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        verdict=choice.verdict,
        recommended=choice.recommended,
        rivals=rivals(choice.recommended, models, measured.predictions(), subject.data.test.labels),
        target=_target(subject.target, measured.saturates),
        data=_data(subject),
        models=models,
        stages=[_stage(name, done) for name, done in subject.stages.items()],
        quantization=_quantization(subject, exported, measured, choice.recommended),
        environment=here,
        budget=subject.budget.model_dump(),
        notes=[
            *subject.data.notes,
            *measured_elsewhere(subject.target),
            *trained_elsewhere(made, here),
            *told_by_stages(made),
            *told_by_files(models, choice.recommended),
        ],
    )


def _baseline(subject: Subject, measured: Measured) -> str:
    """The file that all others are compared with: the first teacher's, else the first."""
    teachers = [file.id for file in measured.files if subject.stages[file.stage].kind == "teacher"]
    return [*teachers, measured.files[0].id][0]


def _model(subject: Subject, measured: Measured, index: int) -> ModelReport:
    file, base = measured.files[index], _baseline(subject, measured)
    labels = subject.data.test.labels
    right, base_right = measured.chosen[file.id] == labels, measured.chosen[base] == labels
    paired, on_val = paired_test(base_right, right), _on_val(measured, subject.data.val.labels, file.id, base)
    correct, total = int(right.sum()), len(labels)
    classes = count_classes(measured.chosen[file.id], labels, subject.data.num_classes)
    ratio, ci95 = measured.ratio(file.id, base)
    source = subject.sources.get(file.stage) if file.integers else None
    sizes = {other.id: other.size_bytes for other in measured.files}
    return ModelReport(
        id=file.id,
        stage=subject.stages[file.stage].kind,
        source=source,
        precision=file.precision,
        file=file.file,
        sha256=file.sha256,
        params=file.params,
        macs=file.macs,
        agreement=file.agreement,
        drift=Drift(**file.drift.model_dump()) if file.drift else None,
        weight_bits=file.integers.weight_bits if file.integers else None,
        max_abs_weight=file.max_abs_weight,
        kept=file.kept,
        size_bytes=file.size_bytes,
        size_ratio=file.size_bytes / sizes[base],
        accuracy=correct / total,
        correct=correct,
        total=total,
        val_accuracy=on_val.accuracy,
        accuracy_ci95=wilson_interval(correct, total),
        accuracy_drop=(int(base_right.sum()) - correct) / total,
        accuracy_drop_ci95=drop_interval(paired),
        paired=paired,
        val_paired=on_val,
        latency_ms=Latency.model_validate(percentiles(measured.latencies.runs_ms[index])),
        latency_ratio=Ratio(ratio=ratio, ci95=ci95),
        speedup=Ratio(ratio=1 / ratio, ci95=(1 / ci95[1], 1 / ci95[0])),
        source_ratio=_ratio(measured, file.id, source) if source in sizes else None,
        kernels=Kernels(**asdict(file.kernels)),
        per_class_accuracy=classes.recall,
        balanced_accuracy=classes.balanced_accuracy,
        warnings=shortcomings(classes, subject.data.class_names, "test", subject.data.balance),
    )


def _on_val(measured: Measured, labels: torch.Tensor, model: str, base: str) -> Paired:
    return paired_test(measured.chosen[f"{base}/val"] == labels, measured.chosen[f"{model}/val"] == labels)


def _ratio(measured: Measured, one: str, other: str | None) -> Ratio:
    assert other is not None
    ratio, ci95 = measured.ratio(one, other)
    return Ratio(ratio=ratio, ci95=ci95)


def _target(target: Target, saturates: bool) -> TargetFacts:
    return TargetFacts(
        isa=target.resolved_isa,
        declared_isa=target.isa,
        cpu=cpu_name(),
        threads=target.threads,
        batch=target.batch,
        processes=PROCESSES,
        onnxruntime=environment()["onnxruntime"],
        saturates=saturates,
    )


def _data(subject: Subject) -> DataFacts:
    data = subject.data
    return DataFacts(
        name=data.name,
        classes=data.num_classes,
        train=len(data.train),
        val=len(data.val),
        test=len(data.test),
        class_names=list(data.class_names),
        image_size=data.image_size,
        fingerprint=data.fingerprint(),
        test_fingerprint=data.test.fingerprint(),
        test_counts=data.test.labels.bincount(minlength=data.num_classes).tolist(),
        settings=dict(subject.data_settings),
    )


def _stage(name: str, done: Done) -> StageReport:
    made = done.made
    pruning = made.pruning if isinstance(made, FloatModel) else None
    return StageReport(
        id=name,
        stage=done.kind,
        settings=done.settings,
        digest=done.artifact.digest,
        seconds=made.seconds,
        val_accuracy=made.accuracy,
        epochs=[
            Epoch(**{key: value for key, value in asdict(log).items() if key != "val_loss"})
            for log in (made.history.epochs if made.history else [])
        ],
        best_epoch=made.history.best_epoch if made.history else None,
        widths=[LayerWidth(**width.model_dump()) for width in pruning.widths] if pruning else [],
        facts=_before_and_after(pruning) if pruning else {},
    )


def _before_and_after(pruning: Pruning) -> dict[str, float | int | str]:
    (macs, macs_after), (params, params_after) = pruning.macs, pruning.params
    return {
        "MACs before": macs,
        "MACs after": macs_after,
        "parameters before": params,
        "parameters after": params_after,
    }


def _quantization(subject: Subject, exported: Artifact, measured: Measured, recommended: str) -> Quantization | None:
    """The calibrated student in each scheme, as shipped and exact; None where nothing is quantized.

    The student is the recommended file's where that holds integers, else the first that was quantized.
    """
    quantized = {name: done.made for name, done in subject.stages.items() if isinstance(done.made, IntegerModel)}
    if not quantized:
        return None
    stage = next(file.stage for file in measured.files if file.id == recommended)
    name = stage if stage in quantized else next(iter(quantized))
    found, source = quantized[name], subject.sources[name]
    calibrated = [_weight_bits(subject, measured, file) for file in _calibrated(subject, exported, name)]
    return Quantization(
        source=source,
        declared_bits=found.scheme.weight_bits,
        calibrated=sorted(calibrated, key=lambda bits: bits.bits),
        kept=found.quantized.kept,
        ptq_val_accuracy=found.quantized.ptq_val_accuracy,
        qat_val_accuracy=found.quantized.qat_val_accuracy,
    )


def _calibrated(subject: Subject, exported: Artifact, name: str) -> list[ExportedFile]:
    """A stage's calibrated files; one that another stage made of the same model stands for it where both are one."""
    source = subject.sources[name]
    every = manifest_of(exported, ExportedFiles).exported
    found = [file for file in every if file.calibrated and subject.sources[file.stage] == source]
    own_last = sorted(found, key=lambda file: file.stage == name)
    return list({file.scheme: file for file in own_last}.values())


def _weight_bits(subject: Subject, measured: Measured, file: ExportedFile) -> WeightBits:
    labels, scheme = subject.data.test.labels, file.integers
    assert scheme is not None
    shipped, exact = (float((measured.chosen[key] == labels).float().mean()) for key in (file.id, f"{file.id}/exact"))
    return WeightBits(bits=scheme.weight_bits, as_shipped=shipped, exact=exact, total=len(labels))
