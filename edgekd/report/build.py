"""Builds the report from what was measured."""

import datetime
from dataclasses import asdict

import torch

from edgekd.config.target import Target
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.latency import PROCESSES, percentiles
from edgekd.ondevice.machine import cpu_name
from edgekd.report.bits import quantization
from edgekd.report.notes import measured_elsewhere, told_by_files, told_by_stages, trained_elsewhere
from edgekd.report.paired import drop_interval, paired_test, rivals
from edgekd.report.schema import (
    DataFacts,
    Drift,
    Kernels,
    Latency,
    ModelReport,
    Paired,
    Ratio,
    Report,
    TargetFacts,
)
from edgekd.report.stage_report import Epoch, LayerWidth, Search, StageReport
from edgekd.report.subject import Done, Measured, Subject
from edgekd.report.verdict import choose
from edgekd.stages.manifests import FloatModel, Pruning
from edgekd.store.artifacts import Artifact
from edgekd.training.classes import count_classes, shortcomings
from edgekd.training.environment import environment
from edgekd.training.parallel import ALONE
from edgekd.training.significance import wilson_interval
from edgekd.zoo import stem_in_words


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
        target=target_facts(subject.target, measured.saturates),
        data=data_facts(subject),
        models=models,
        stages=[_stage(name, done) for name, done in subject.stages.items()],
        quantization=quantization(subject, exported, measured, choice.recommended),
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
    """The file that all others are compared with: the first teacher's, else the first file."""
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
        weights_by_bits=file.weights_by_bits,
        **measured.costs_of(file.id),
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
        # The float source need not be among the exported files.
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


def target_facts(target: Target, saturates: bool) -> TargetFacts:
    """Where and how latency is measured here; ``saturates``: as this CPU was found to."""
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


def data_facts(subject: Subject) -> DataFacts:
    """The images that a pipeline saw."""
    data = subject.data
    return DataFacts(
        name=data.name,
        classes=data.num_classes,
        train=len(data.train),
        unlabelled=len(data.pictures) if data.pictures else 0,
        val=len(data.val),
        test=len(data.test),
        class_names=list(data.class_names),
        image_size=data.image_size,
        channels=data.in_channels,
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
        searches=[Search(**search.model_dump()) for search in made.searches] if isinstance(made, FloatModel) else [],
        widths=[LayerWidth(**width.model_dump()) for width in pruning.widths] if pruning else [],
        facts={**_stem(done), **(_before_and_after(pruning) if pruning else {})},
    )


def _stem(done: Done) -> dict[str, float | int | str]:
    """Which first convolution a stage built, where it built a network that may have another one."""
    if not isinstance(done.made, FloatModel) or done.settings.get("model") is None:
        return {}
    words = stem_in_words(done.made.model.spec)
    return {"stem": words} if words else {}


def _before_and_after(pruning: Pruning) -> dict[str, float | int | str]:
    (macs, macs_after), (params, params_after) = pruning.macs, pruning.params
    return {
        "MACs before": macs,
        "MACs after": macs_after,
        "parameters before": params,
        "parameters after": params_after,
    }
