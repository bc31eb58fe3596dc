"""The teacher: a network trained on the labels."""

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from edgekd.artifact import Artifact
from edgekd.stages.base import BatchSize, Context, Epochs, LearningRate, Precision, Stage, WeightDecay, recipe
from edgekd.training import LossParts, fit, in_precision
from edgekd.zoo import ModelSpec, build


class Teacher(Stage):
    """Train a network with cross-entropy and keep the epoch that is best on val."""

    stage: Literal["teacher"] = "teacher"
    model: str = Field(description="architecture: any torchvision classifier, or resnet8, resnet14, resnet20, ...")
    width_mult: float = Field(
        1.0, gt=0, le=8, description="multiplies every layer's channels, where the architecture has it"
    )
    epochs: Epochs = 30
    lr: LearningRate = 0.1
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 5e-4
    precision: Precision = "float32"

    def run(self, ctx: Context) -> Artifact:
        data = ctx.data
        spec = ModelSpec(
            name=self.model,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            width_mult=self.width_mult,
        )
        model = build(spec)
        logits_of = in_precision(model, self.precision)

        def batch_loss(images: Tensor, labels: Tensor, progress: float) -> LossParts:
            return LossParts(F.cross_entropy(logits_of(images), labels))

        history = fit(model, batch_loss, data, recipe(self), seed=ctx.seed, progress=ctx.progress, label=ctx.name)
        return ctx.save(model, spec, history)
