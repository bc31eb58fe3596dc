"""Quantization-aware training: the network learns to live with 8-bit numbers, the teacher holding it steady."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from edgekd.config.target import Target
from edgekd.data import Dataset
from edgekd.quantization import QuantizedModel, check_quantizable
from edgekd.stages.base import (
    NO_TEACHER,
    Alpha,
    BatchSize,
    Beta,
    Context,
    Epochs,
    LabelledShare,
    LabelsLr,
    LearningRate,
    Stage,
    StageId,
    StopTeacherAt,
    Views,
    WeightDecay,
    check_mixes,
    source_or_before,
)
from edgekd.stages.bits import Bits, MostLost, WeightBits, is_few, unread_unless_auto
from edgekd.stages.manifests import FloatModel, IntegerModel, Quantized, StageManifest
from edgekd.stages.ptq import CalibrationImages, calibrated, save_quantized
from edgekd.stages.teachers import TeacherIds, as_one, key_of_role, load_teachers, teacher_roles
from edgekd.stages.teaching import (
    NamedTerm,
    check_views,
    distillation,
    kept_answers,
    labels_alone,
    mix_of,
    share_with_label,
    taught_schedule,
    unread_without_term,
    window_of,
)
from edgekd.store.artifacts import Artifact
from edgekd.training.fit import BatchLoss, fit
from edgekd.training.history import copy_state
from edgekd.training.losses import AnyLoss, Kd
from edgekd.zoo import ModelSpec

_TERM = ("loss", "temperature", "alpha", "stop_teacher_at", "labels_lr", "labelled_share", "views")
"""What is read only where the teacher's term counts."""
FEW_BITS_DEFAULTS = {"epochs": 10, "lr": 0.02, "freeze_batchnorm_at": 0.8, "freeze_observers_at": 0.8}
"""Weights of few bits move in large steps: rates that suit 8 bits hardly turn any of them over."""


class Qat(Stage):
    """Calibrate first (PTQ), then train with rounded numbers; the better of the two on val is kept."""

    VERSION: ClassVar[int] = 3
    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"source": FloatModel, "teacher": FloatModel}
    leaves: ClassVar[type[StageManifest]] = IntegerModel
    reads_target: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    LATER: ClassVar[tuple[str, ...]] = ("labelled_share",)

    stage: Literal["qat"] = "qat"
    source: StageId | None = Field(
        None, description="the stage whose model is quantized; the stage before unless given"
    )
    teacher: TeacherIds = Field(
        None, description="the stage whose model teaches, several: [a, b], or none; the first teacher unless given"
    )
    loss: AnyLoss = Field(Kd(), description="the teacher's term: kd, dkd or dist, or {name: dkd, others_weight: 4}")
    temperature: float = Field(2.0, gt=0, le=100, description="softens both distributions")
    alpha: Alpha = 0.1
    beta: Beta = 0.9
    stop_teacher_at: StopTeacherAt = 1.0
    labels_lr: LabelsLr = 0.1
    labelled_share: LabelledShare = 0.25
    views: Views = None
    weight_bits: WeightBits = None
    most_lost: MostLost = 0.01
    calibration_images: CalibrationImages = 512
    freeze_batchnorm_at: float = Field(
        0.3, ge=0, le=1, description="share of the epochs after which batch norms stay; 0.8 where bits are few"
    )
    freeze_observers_at: float = Field(
        0.4, ge=0, le=1, description="share of the epochs after which activation ranges stay; 0.8 where bits are few"
    )
    epochs: Epochs = Field(6, description="passes over the training split; 10 where bits are few")
    lr: LearningRate = Field(0.002, description="peak learning rate, after the warm-up; 0.02 where bits are few")
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 1e-4

    @model_validator(mode="before")
    @classmethod
    def _few_bits_are_trained_harder(cls, given: Any) -> Any:
        if isinstance(given, dict) and is_few(given.get("weight_bits")):
            return {**FEW_BITS_DEFAULTS, **given}
        return given

    @model_validator(mode="after")
    def _repeats(self) -> "Qat":
        check_views(self)
        return self

    @property
    def unread(self) -> dict[str, str]:
        return {**self._unread_of_term, **unread_unless_auto(self.weight_bits)}

    @property
    def _unread_of_term(self) -> dict[str, str]:
        if self.teacher == NO_TEACHER:
            return unread_without_term(("beta", *_TERM), "teacher is none", self.stop_teacher_at)
        return unread_without_term(("teacher", *_TERM), "" if self.beta else "beta is 0", self.stop_teacher_at)

    def deciding_settings(self) -> dict[str, Any]:
        settings = super().deciding_settings()
        if settings.get("loss") == Kd().name:  # digests from before there was a choice
            del settings["loss"]
        return settings

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        teachers = teacher_roles(self.teacher, earlier, where) if self.beta else {}
        return {"source": source_or_before(self.source, earlier, where), **teachers}

    def key_of(self, role: str) -> str:
        return key_of_role(role)

    def check_data(self, data: Dataset, where: str) -> None:
        check_mixes(self, data, where, taught=self.beta > 0 and self.teacher != NO_TEACHER)

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        check_quantizable(model, spec)
        Bits.of(self.weight_bits, target).check(model, spec, target)
        return model

    def run(self, ctx: Context) -> Artifact:
        start = calibrated(ctx, self.calibration_images, Bits.of(self.weight_bits, ctx.target), self.most_lost)
        model, ptq_state = start.model, copy_state(start.model)
        history = fit(
            model,
            self._batch_loss(model, ctx),
            ctx.data,
            taught_schedule(self),
            seed=ctx.seed,
            progress=ctx.progress,
            label=ctx.name,
            before_epoch=lambda progress: self._freeze(model, progress),
            start=start.on_val,
            checkpoints=ctx.checkpoints,
            processes=ctx.processes,
            after_averaging=model.refit_activation_ranges,
            mix=mix_of(self, ctx.data, taught="teacher" in ctx.inputs),
        )
        found = Quantized(
            scheme=model.scheme.name,
            chosen=start.chosen,
            sensitivity=start.sensitivity,
            kept="qat" if history.best_epoch else "ptq",
            ptq_val_accuracy=start.on_val.accuracy,
            qat_val_accuracy=max(epoch.val_accuracy for epoch in history.epochs),
        )
        tensors = {"weights": model.state_dict(), "ptq": ptq_state}
        return save_quantized(ctx, start.network, found, tensors, history)

    def _batch_loss(self, model: QuantizedModel, ctx: Context) -> BatchLoss:
        if "teacher" not in ctx.inputs:
            return labels_alone(model)
        teacher = as_one(load_teachers(ctx, model.spec), self.temperature)
        term = NamedTerm(self.loss.name, self._teacher_term)
        labelled = share_with_label(self, ctx.data)
        kept = kept_answers(self, ctx, model.spec.num_classes)
        return distillation(model, teacher, term, self.alpha, self.beta, window_of(self), labelled=labelled, kept=kept)

    def _teacher_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return self.loss(student, teacher, labels, self.temperature)

    def _freeze(self, model: QuantizedModel, progress: float) -> None:
        if progress >= self.freeze_batchnorm_at:
            model.freeze_batchnorm()
        if progress >= self.freeze_observers_at:
            model.freeze_activations()
