"""Measures every exported file and puts the report together."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd import ort
from edgekd.artifact import Artifact, Store, digest_of, load_tensors, save_tensors
from edgekd.classes import count_classes, shortcomings
from edgekd.data import Dataset
from edgekd.disk import disk_errors
from edgekd.measure import answers, filled, measure_latency
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.latency import PROCESSES, ROUNDS, Latencies, paired_ratio, percentiles
from edgekd.ondevice.machine import cpu_name, host_isa
from edgekd.processes import ALONE
from edgekd.report.fitting import Budget
from edgekd.report.notes import measured_elsewhere, told_by_files, told_by_stages, trained_elsewhere
from edgekd.report.paired import drop_interval, paired_test, rivals
from edgekd.report.schema import (
    DataFacts,
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
from edgekd.target import Target

MEASURE_VERSION = 1
"""Raised when the same files on the same machine are measured in another way than before."""


@dataclass(frozen=True)
class Subject:
    """A pipeline that has run.

    Args:
        stages: id -> (kind of stage, settings, artifact), in order.
        sources: id -> id of the stage whose model it began with.
        data_settings: what the pipeline says of its images, without paths.
    """

    name: str
    seed: int
    data: Dataset
    target: Target
    budget: Budget
    stages: Mapping[str, tuple[str, dict[str, Any], Artifact]]
    sources: Mapping[str, str]
    data_settings: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """Everything that was measured on the exported files, in the order of ``files``."""

    files: list[dict[str, Any]]
    folder: Path
    chosen: dict[str, torch.Tensor]
    latencies: Latencies
    saturates: bool

    def predictions(self) -> dict[str, torch.Tensor]:
        """The class that each exported file gave every test image, in order."""
        return {about["id"]: self.chosen[about["id"]] for about in self.files}

    def ratio(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Paired latency ratio of two files."""
        ids = [about["id"] for about in self.files]
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
    every = exported.manifest["exported"]
    files = [about for about in every if about["role"] == "model"]
    chosen: dict[str, torch.Tensor] = {}
    for done, about in enumerate(every):
        progress.work("accuracy on val and test", done, len(every))
        chosen |= answers(about, exported.path(about["file"]), subject.data)
    progress.work("accuracy on val and test", len(every), len(every))
    pixels = filled(subject.data.test.images, subject.target.batch)
    paths = [exported.folder / about["file"] for about in files]
    latencies = measure_latency(
        paths, pixels, subject.target.threads, seed=subject.seed, progress=progress, label="latency, interleaved rounds"
    )
    with store.writing(digest, {"saturates": ort.saturates(), "parents": {"export": exported.digest}}) as folder:
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
    files = [about for about in exported.manifest["exported"] if about["role"] == "model"]
    chosen = load_tensors(artifact, "predictions.safetensors")
    return Measured(files, exported.folder, chosen, latencies, bool(artifact.manifest["saturates"]))


def build_report(subject: Subject, exported: Artifact, measured: Measured) -> Report:
    """The report on what was measured."""
    models = [_model(subject, measured, i) for i in range(len(measured.files))]
    choice = choose(models, subject.budget, measured.ratio)
    models = [model.model_copy(update={"file": MODEL}) if model.id == choice.recommended else model for model in models]
    artifacts = {name: artifact for name, (_, _, artifact) in subject.stages.items()}
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
        stages=[_stage(name, *about) for name, about in subject.stages.items()],
        quantization=_quantization(subject, exported, measured, choice.recommended),
        environment=here,
        budget=subject.budget.model_dump(),
        notes=[
            *subject.data.notes,
            *measured_elsewhere(subject.target),
            *trained_elsewhere(artifacts, here),
            *told_by_stages(artifacts),
            *told_by_files(models, choice.recommended),
        ],
    )


def _baseline(subject: Subject, measured: Measured) -> str:
    """The file that all others are compared with: the first teacher's, else the first."""
    teachers = [about["id"] for about in measured.files if subject.stages[about["stage"]][0] == "teacher"]
    return str([*teachers, measured.files[0]["id"]][0])


def _model(subject: Subject, measured: Measured, index: int) -> ModelReport:
    about, base = measured.files[index], _baseline(subject, measured)
    labels = subject.data.test.labels
    right, base_right = measured.chosen[about["id"]] == labels, measured.chosen[base] == labels
    paired, on_val = paired_test(base_right, right), _on_val(measured, subject.data.val.labels, about["id"], base)
    correct, total = int(right.sum()), len(labels)
    classes = count_classes(measured.chosen[about["id"]], labels, subject.data.num_classes)
    size, base_size = about["size_bytes"], next(item["size_bytes"] for item in measured.files if item["id"] == base)
    ratio, ci95 = measured.ratio(about["id"], base)
    source = subject.sources.get(about["stage"]) if about["precision"] == "int8" else None
    exported = {item["id"] for item in measured.files}
    return ModelReport(
        id=about["id"],
        stage=subject.stages[about["stage"]][0],
        source=source,
        **{
            key: about[key]
            for key in (
                "precision",
                "file",
                "sha256",
                "params",
                "macs",
                "agreement",
                "drift",
                "weight_bits",
                "max_abs_weight",
                "kept",
            )
        },
        size_bytes=size,
        size_ratio=size / base_size,
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
        source_ratio=_ratio(measured, about["id"], source) if source in exported else None,
        kernels=Kernels(**about["kernels"]),
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


def _stage(name: str, kind: str, settings: dict[str, Any], artifact: Artifact) -> StageReport:
    manifest = artifact.manifest
    history, pruning = manifest.get("history") or {}, manifest.get("pruning") or {}
    epochs = [
        Epoch(**{key: value for key, value in log.items() if key != "val_loss"}) for log in history.get("epochs", [])
    ]
    return StageReport(
        id=name,
        stage=kind,
        settings=settings,
        digest=artifact.digest,
        seconds=manifest.get("seconds", 0.0),
        val_accuracy=artifact.val_accuracy,
        epochs=epochs,
        best_epoch=history.get("best_epoch"),
        widths=[LayerWidth(**width) for width in pruning.get("widths", [])],
        facts=_facts(pruning),
    )


def _facts(pruning: Mapping[str, Any]) -> dict[str, float | int | str]:
    if not pruning:
        return {}
    (macs, macs_after), (params, params_after) = pruning["macs"], pruning["params"]
    return {
        "MACs before": macs,
        "MACs after": macs_after,
        "parameters before": params,
        "parameters after": params_after,
    }


def _quantization(subject: Subject, exported: Artifact, measured: Measured, recommended: str) -> Quantization | None:
    """The calibrated student at 7 and at 8 bits of weight, as shipped and exact; None where nothing is quantized.

    The student is the recommended file's where that holds integers, else the first that was quantized.
    """
    quantized = [name for name, (kind, _, _) in subject.stages.items() if kind in ("ptq", "qat")]
    if not quantized:
        return None
    stage = next(item["stage"] for item in measured.files if item["id"] == recommended)
    name = stage if stage in quantized else quantized[0]
    about = subject.stages[name][2].manifest["quantized"]
    calibrated = _calibrated(subject, exported, name)
    return Quantization(
        source=subject.sources[name],
        declared_bits=about["weight_bits"],
        calibrated=sorted((_weight_bits(subject, measured, item) for item in calibrated), key=lambda bits: bits.bits),
        kept=about["kept"],
        ptq_val_accuracy=about["ptq_val_accuracy"],
        qat_val_accuracy=about["qat_val_accuracy"],
    )


def _calibrated(subject: Subject, exported: Artifact, name: str) -> list[dict[str, Any]]:
    """A stage's calibrated files; one that another stage made of the same model stands for it where both are one."""
    source = subject.sources[name]
    found = [
        about
        for about in exported.manifest["exported"]
        if about["calibrated"] and subject.sources[about["stage"]] == source
    ]
    own_last = sorted(found, key=lambda about: about["stage"] == name)
    return list({about["weight_bits"]: about for about in own_last}.values())


def _weight_bits(subject: Subject, measured: Measured, about: Mapping[str, Any]) -> WeightBits:
    labels = subject.data.test.labels
    shipped, exact = (
        float((measured.chosen[key] == labels).float().mean()) for key in (about["id"], f"{about['id']}/exact")
    )
    return WeightBits(bits=about["weight_bits"], as_shipped=shipped, exact=exact, total=len(labels))
