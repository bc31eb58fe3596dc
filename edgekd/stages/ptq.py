"""Post-training quantization: ranges from calibration images alone, nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from edgekd.artifact import Artifact, save_tensors
from edgekd.data import calibration_batches
from edgekd.evaluation import Evaluation, evaluate, not_learned
from edgekd.quantization import QuantizedModel, check_quantizable
from edgekd.stages.base import Context, Stage, StageId, source_or_before
from edgekd.target import Target
from edgekd.zoo import ModelSpec, Widths, widths

CalibrationImages = Annotated[int, Field(ge=1, description="training images that set the ranges")]


class Ptq(Stage):
    """Calibrate alone: the ranges of every tensor are set from training images, and no weight is trained."""

    reads_target: ClassVar[bool] = True

    stage: Literal["ptq"] = "ptq"
    source: StageId | None = Field(
        None, description="the stage whose model is quantized; the stage before unless given"
    )
    calibration_images: CalibrationImages = 512

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        return {"source": source_or_before(self.source, earlier, where)}

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        check_quantizable(model, spec)
        return model

    def run(self, ctx: Context) -> Artifact:
        found = calibrated(ctx, self.calibration_images)
        accuracy = found.on_val.accuracy
        about = {
            "weight_bits": found.model.weight_bits,
            "kept": "ptq",
            "ptq_val_accuracy": accuracy,
            "qat_val_accuracy": None,
        }
        classes = found.on_val.classes
        warnings = not_learned(classes, ctx.data) if classes else []
        manifest = ctx.manifest(quantized=about, val_accuracy=accuracy, warnings=warnings)
        return save_quantized(ctx, found, manifest, {"weights": found.model.state_dict()})


@dataclass(frozen=True)
class Calibrated:
    """A network with integer ranges, the widths of its float one, and what it reaches on val."""

    model: QuantizedModel
    widths: Widths
    on_val: Evaluation


def calibrated(ctx: Context, images: int) -> Calibrated:
    """The source's model with ranges from so many training images."""
    float_model, spec = ctx.load("source")
    model = QuantizedModel(float_model, spec, ctx.target.weight_bits)
    model.calibrate(calibration_batches(ctx.data, images))
    found = evaluate(model, ctx.data.val)
    ctx.progress.note(f"calibrated only (PTQ), {model.weight_bits}-bit weights: {found.accuracy:.4f} on val")
    return Calibrated(model, widths(float_model), found)


def save_quantized(
    ctx: Context, made: Calibrated, manifest: dict[str, Any], tensors: dict[str, dict[str, Tensor]]
) -> Artifact:
    """Write an integer model's artifact; ``tensors``: states by the name of the file that receives them."""
    with ctx.store.writing(ctx.digest, manifest) as folder:
        manifest["model"] = {"spec": made.model.spec.model_dump(), "widths": made.widths}
        for name, state in tensors.items():
            save_tensors(folder / f"{name}.safetensors", state)
    return ctx.saved()
