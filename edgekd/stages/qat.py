"""Quantization-aware training: the network learns to live with 8-bit numbers, the teacher holding it steady."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.artifact import Artifact, save_tensors
from edgekd.course import copy_state
from edgekd.data import calibration_batches
from edgekd.evaluation import evaluate
from edgekd.losses import kd_loss
from edgekd.quantization import QuantizedModel, check_quantizable
from edgekd.stages.base import (
    BatchSize,
    Context,
    Epochs,
    LearningRate,
    Stage,
    StageId,
    WeightDecay,
    distillation,
    first_teacher,
    recipe,
    source_or_before,
)
from edgekd.target import Target
from edgekd.training import BatchLoss, LossParts, fit
from edgekd.zoo import ModelSpec, widths


class Qat(Stage):
    """Calibrate first (PTQ), then train with rounded numbers; the better of the two on val is kept."""

    reads_target: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    stage: Literal["qat"] = "qat"
    source: StageId | None = Field(
        None, description="the stage whose model is quantized; the stage before unless given"
    )
    teacher: StageId | None = Field(
        None, description="the stage whose model teaches, or none; the first teacher unless given"
    )
    temperature: float = Field(2.0, gt=0, le=100, description="softens both distributions")
    alpha: float = Field(0.1, ge=0, description="weight of the cross-entropy with the labels")
    beta: float = Field(0.9, ge=0, description="weight of the teacher's term")
    calibration_images: int = Field(512, ge=1, description="training images that set the ranges before training")
    freeze_batchnorm_at: float = Field(0.3, ge=0, le=1, description="share of the epochs after which batch norms stay")
    freeze_observers_at: float = Field(
        0.4, ge=0, le=1, description="share of the epochs after which activation ranges stay"
    )
    epochs: Epochs = 6
    lr: LearningRate = 0.002
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 1e-4

    @model_validator(mode="after")
    def _makes_sense(self) -> "Qat":
        if self.alpha == 0 and (self.beta == 0 or self.teacher == "none"):
            raise ValueError("alpha is 0 and no teacher's term is left: there is nothing to learn from; raise alpha")
        return self

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        named = first_teacher(self.teacher, earlier) if self.beta or self.teacher else None
        teacher = {"teacher": named} if named else {}
        return {"source": source_or_before(self.source, earlier, where), **teacher}

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        check_quantizable(model, spec)
        return model

    def run(self, ctx: Context) -> Artifact:
        float_model, spec = ctx.load("source")
        model = QuantizedModel(float_model, spec, ctx.target.weight_bits)
        model.calibrate(calibration_batches(ctx.data, self.calibration_images))
        ptq, ptq_state = evaluate(model, ctx.data.val), copy_state(model)
        ctx.progress.note(f"calibrated only (PTQ), {model.weight_bits}-bit weights: {ptq.accuracy:.4f} on val")
        history = fit(
            model,
            self._batch_loss(model, ctx),
            ctx.data,
            recipe(self),
            seed=ctx.seed,
            progress=ctx.progress,
            label=ctx.name,
            before_epoch=lambda progress: self._freeze(model, progress),
            start=ptq,
            checkpoints=ctx.checkpoints,
            processes=ctx.processes,
            after_averaging=model.refit_activation_ranges,
        )
        about = {
            "weight_bits": model.weight_bits,
            "kept": "qat" if history.best_epoch else "ptq",
            "ptq_val_accuracy": ptq.accuracy,
            "qat_val_accuracy": max(epoch.val_accuracy for epoch in history.epochs),
        }
        manifest = ctx.manifest(history, quantized=about)
        with ctx.store.writing(ctx.digest, manifest) as folder:
            manifest["model"] = {"spec": spec.model_dump(), "widths": widths(float_model)}
            save_tensors(folder / "weights.safetensors", model.state_dict())
            save_tensors(folder / "ptq.safetensors", ptq_state)
        return ctx.saved()

    def _batch_loss(self, model: QuantizedModel, ctx: Context) -> BatchLoss:
        if "teacher" not in ctx.inputs or self.beta == 0:
            return lambda images, labels, _: LossParts(F.cross_entropy(model(images), labels))
        teacher = ctx.load_teacher(model.spec)
        return distillation(model, teacher, self._teacher_term, self.alpha, self.beta)

    def _teacher_term(self, student: Tensor, teacher: Tensor, _labels: Tensor) -> Tensor:
        return kd_loss(student, teacher, self.temperature)

    def _freeze(self, model: QuantizedModel, progress: float) -> None:
        if progress >= self.freeze_batchnorm_at:
            model.freeze_batchnorm()
        if progress >= self.freeze_observers_at:
            model.freeze_activations()
