"""Distillation: the smaller network learns from the labels and from the big one."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from edgekd.artifact import Artifact
from edgekd.errors import ConfigError
from edgekd.losses import LOSSES, standardized
from edgekd.stages.base import (
    BatchSize,
    Context,
    Epochs,
    LearningRate,
    Precision,
    Stage,
    StageId,
    WeightDecay,
    distillation,
    first_teacher,
    recipe,
    source_or_before,
)
from edgekd.training import BatchLoss, fit, in_precision
from edgekd.zoo import ModelSpec, build


class Distill(Stage):
    """Train a student on the labels and on a frozen teacher's softened outputs: alpha * CE + beta * T^2 * KL."""

    stage: Literal["distill"] = "distill"
    source: StageId | None = Field(
        None, description="the stage whose model is the student; the stage before unless given"
    )
    teacher: StageId | None = Field(None, description="the stage whose model teaches; the first teacher unless given")
    model: str | None = Field(None, description="a fresh architecture as the student, in place of source")
    loss: Literal["kd", "dkd", "dist"] = Field("kd", description="the teacher's term")
    standardize: bool = Field(False, description="standardise both logits first (kd, dkd)")
    temperature: float = Field(4.0, gt=0, le=100, description="softens both distributions")
    alpha: float = Field(0.1, ge=0, description="weight of the cross-entropy with the labels")
    beta: float = Field(0.9, ge=0, description="weight of the teacher's term")
    start_teacher_at: float = Field(
        0.0, ge=0, lt=1, description="share of the schedule after which the teacher's term begins"
    )
    stop_teacher_at: float = Field(
        1.0, gt=0, le=1, description="share of the schedule after which only the labels teach"
    )
    epochs: Epochs = 30
    lr: LearningRate = 0.1
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 5e-4
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _makes_sense(self) -> "Distill":
        if self.alpha == 0 and self.beta == 0:
            raise ValueError("alpha and beta are both 0: there is nothing to learn from; raise one")
        if self.start_teacher_at >= self.stop_teacher_at:
            raise ValueError("start_teacher_at must be below stop_teacher_at")
        if self.standardize and self.loss == "dist":
            raise ValueError("standardize goes with kd and dkd: dist is the same for standardised logits")
        if self.alpha == 0 and (self.start_teacher_at > 0 or self.stop_teacher_at < 1):
            raise ValueError("alpha is 0, so that nothing teaches while the teacher is off; raise alpha")
        return self

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        named = first_teacher(self.teacher, earlier)
        if named is None:
            raise ConfigError(
                f"{where}.teacher",
                "distillation needs a teacher, found none",
                "name one, or begin with a teacher stage",
            )
        student = {} if self.model else {"source": source_or_before(self.source, earlier, where)}
        return {**student, "teacher": named}

    def run(self, ctx: Context) -> Artifact:
        student, spec = self._student(ctx)
        loss = self.batch_loss(student, ctx.load_teacher(spec))
        history = fit(student, loss, ctx.data, recipe(self), seed=ctx.seed, progress=ctx.progress, label=ctx.name)
        return ctx.save(student, spec, history)

    def batch_loss(self, student: nn.Module, teacher: nn.Module) -> BatchLoss:
        """alpha * CE + beta * the teacher's term."""
        window = (self.start_teacher_at, self.stop_teacher_at)
        asked, answering = (in_precision(model, self.precision) for model in (student, teacher))
        return distillation(asked, answering, self._teacher_term, self.alpha, self.beta, window)

    def _teacher_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        return LOSSES[self.loss](student, teacher, labels, self.temperature)

    def _student(self, ctx: Context) -> tuple[nn.Module, ModelSpec]:
        if self.model is None:
            return ctx.load("source")
        data = ctx.data
        spec = ModelSpec(
            name=self.model, num_classes=data.num_classes, in_channels=data.in_channels, image_size=data.image_size
        )
        return build(spec), spec
