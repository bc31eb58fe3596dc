"""Post-training quantization: ranges from calibration images alone, nothing is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from edgekd.config.target import Target
from edgekd.quantization import QuantizedModel, check_quantizable
from edgekd.quantization.sensitivity import LayerLoss
from edgekd.stages.base import Context, Stage, StageId, source_or_before
from edgekd.stages.bits import Bits, MostLost, WeightBits, unread_unless_auto
from edgekd.stages.manifests import FloatModel, IntegerModel, LayerBits, Network, Quantized, StageManifest
from edgekd.stages.mixing import calibrated_model, cheapest_mix, sensitivity
from edgekd.store.artifacts import Artifact
from edgekd.store.tensors import save_tensors
from edgekd.training.evaluation import Evaluation, evaluate, not_learned
from edgekd.training.history import History
from edgekd.zoo import ModelSpec

CalibrationImages = Annotated[int, Field(ge=1, description="training images that set the ranges")]


class Ptq(Stage):
    """Calibrate alone: the ranges of every tensor are set from training images, and no weight is trained."""

    VERSION: ClassVar[int] = 2
    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"source": FloatModel}
    leaves: ClassVar[type[StageManifest]] = IntegerModel
    reads_target: ClassVar[bool] = True

    stage: Literal["ptq"] = "ptq"
    source: StageId | None = Field(
        None, description="the stage whose model is quantized; the stage before unless given"
    )
    weight_bits: WeightBits = None
    most_lost: MostLost = 0.01
    calibration_images: CalibrationImages = 512

    @property
    def unread(self) -> dict[str, str]:
        return unread_unless_auto(self.weight_bits)

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        return {"source": source_or_before(self.source, earlier, where)}

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        check_quantizable(model, spec)
        Bits.of(self.weight_bits, target).check(model, spec, target)
        return model

    def run(self, ctx: Context) -> Artifact:
        found = calibrated(ctx, self.calibration_images, Bits.of(self.weight_bits, ctx.target), self.most_lost)
        accuracy, classes = found.on_val.accuracy, found.on_val.classes
        quantized = Quantized(
            scheme=found.model.scheme.name,
            chosen=found.chosen,
            sensitivity=found.sensitivity,
            kept="ptq",
            ptq_val_accuracy=accuracy,
            qat_val_accuracy=None,
        )
        warnings = not_learned(classes, ctx.data) if classes else []
        tensors = {"weights": found.model.state_dict()}
        return save_quantized(ctx, found.network, quantized, tensors, val_accuracy=accuracy, warnings=warnings)


@dataclass(frozen=True)
class Calibrated:
    """A network with integer ranges, how its float one is built again, and what it reaches on val.

    Args:
        chosen: bits of the layers that have others than the scheme's.
        sensitivity: what each layer loses with few bits, where it was asked.
    """

    model: QuantizedModel
    chosen: dict[str, int]
    sensitivity: list[LayerBits]
    network: Network
    on_val: Evaluation


def calibrated(ctx: Context, images: int, bits: Bits, most_lost: float) -> Calibrated:
    """The source's model as integers, see ``calibrated_model``; a mix of bits is chosen first if asked for."""
    float_model, spec = ctx.load("source")
    layers: list[LayerLoss] = []
    if bits.are_mixed:
        layers = sensitivity(ctx, float_model, spec, images)
        bits = replace(bits, chosen=cheapest_mix(ctx, float_model, spec, images, most_lost, layers))
    model = calibrated_model(float_model, spec, ctx.data, images, bits.scheme, bits.chosen)
    found = evaluate(model, ctx.data.val)
    ctx.progress.note(f"calibrated only (PTQ), {bits.in_words}: {found.accuracy:.4f} on val")
    about = [LayerBits(layer=each.layer, weights=each.weights, loss=dict(each.loss)) for each in layers]
    return Calibrated(model, dict(bits.chosen), about, Network.of(float_model, spec), found)


def save_quantized(
    ctx: Context,
    network: Network,
    quantized: Quantized,
    tensors: Mapping[str, Mapping[str, Tensor]],
    history: History | None = None,
    **more: Any,
) -> Artifact:
    """Write an integer model's artifact.

    Args:
        network: how its float one is built again.
        quantized: what was kept, and what was reached.
        tensors: states by the name of the file that receives them.
        history: of its training.
        more: what else its manifest says.
    """

    def fill(folder: Path) -> IntegerModel:
        for name, state in tensors.items():
            save_tensors(folder / f"{name}.safetensors", state)
        return ctx.manifest(IntegerModel, history, model=network, quantized=quantized, **more)

    return ctx.save(fill)
