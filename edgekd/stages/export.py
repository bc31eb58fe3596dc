"""Export: every model of the pipeline as an ONNX file, audited and checked against torch on val."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor, fx

from edgekd import onnx_export, ort
from edgekd.artifact import Artifact, empty_model, file_sha256, load_model, load_tensors
from edgekd.errors import ConfigError
from edgekd.evaluation import logits_of
from edgekd.ondevice.machine import host_isa, weight_bits
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.stages import drift
from edgekd.stages.base import Context, Stage, StageId, network_facts
from edgekd.zoo import ModelSpec, build

LEAST_AGREEMENT = 0.995
ROUNDING_TIES = 3
"""So many images may fall to the other side of a tie whatever the share: val may be small."""


@dataclass(frozen=True)
class Candidate:
    """A model on its way into a file.

    Args:
        id: the file's name without ``.onnx``.
        stage: id of the stage that made the model.
        role: model, or calibration: only there to show what another number of weight bits does.
        answer: the torch model that the file must agree with.
        graph: what is exported.
        kept: which its quantizing stage kept, the trained integers (qat) or the calibrated ones (ptq).
        calibrated: are its integers the calibrated ones?
    """

    id: str
    stage: str
    role: Literal["model", "calibration"]
    precision: Literal["float32", "int8"]
    spec: ModelSpec
    answer: Callable[[Tensor], Tensor]
    graph: fx.GraphModule
    weight_bits: int | None = None
    kept: Literal["qat", "ptq"] | None = None
    calibrated: bool = False


class Export(Stage):
    """Write every stage's model as ONNX: raw uint8 pixels in, float logits out, preprocessing inside."""

    VERSION: ClassVar[int] = 3
    reads_target: ClassVar[bool] = True

    stage: Literal["export"] = "export"
    models: list[StageId] | None = Field(
        None, min_length=1, description="stages whose models are exported; all unless given"
    )

    @field_validator("models")
    @classmethod
    def _each_once(cls, models: list[str] | None) -> list[str] | None:
        if models is not None and len(set(models)) < len(models):
            raise ValueError("a stage is named twice; name each once")
        return models

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        named = self.models if self.models is not None else [stage.name for stage in earlier if stage.kind != "export"]
        if not named:
            raise ConfigError(f"{where}.stage", "export has no model to write: no stage before it makes one", "add one")
        return {name: name for name in named}

    def recipe_settings(self) -> dict[str, Any]:
        return {"stage": self.stage}

    def check_inputs(self, specs: Sequence[ModelSpec]) -> None:
        for spec in specs:
            _check_exportable(spec, network_facts(spec.name).get("source", ""))

    def run(self, ctx: Context) -> Artifact:
        warnings: list[str] = []
        manifest: dict[str, Any] = {**ctx.manifest(exported=[]), "warnings": warnings}
        with ctx.store.writing(ctx.digest, manifest) as folder:
            for candidate in self._candidates(ctx):
                about = _export(candidate, folder, ctx)
                twin = next((other for other in manifest["exported"] if other["sha256"] == about["sha256"]), None)
                if twin is not None and twin["role"] == about["role"]:
                    (folder / about["file"]).unlink()
                    warnings.append(f"{about['id']} is the same file as {twin['id']} and is written once, as that")
                    ctx.progress.note(warnings[-1])
                    continue
                manifest["exported"].append(about)
                ctx.progress.note(_summary(about))
            manifest.update(ctx.manifest())
        return ctx.saved()

    def _candidates(self, ctx: Context) -> Iterator[Candidate]:
        for done, (name, artifact) in enumerate(ctx.inputs.items()):
            ctx.progress.work(ctx.name, done, len(ctx.inputs))
            if "quantized" in artifact.manifest:
                yield from _integer_candidates(name, artifact)
                continue
            model, spec = load_model(artifact)
            yield Candidate(name, name, "model", "float32", spec, model, float_graph(model, spec))
        ctx.progress.work(ctx.name, len(ctx.inputs), len(ctx.inputs))


@functools.lru_cache(maxsize=16)
def _check_exportable(spec: ModelSpec, _source: str) -> None:
    """Write a network, not yet trained, as ONNX and open the file; one of the same source (digest) is not tried again.

    Raises:
        EdgekdError: it cannot be captured, written or opened.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "untrained.onnx"
        onnx_export.export_onnx(float_graph(build(spec), spec), spec, path)
        ort.session(path)


def _integer_candidates(name: str, artifact: Artifact) -> Iterator[Candidate]:
    """The model that was kept, its calibrated twin where that is another, and that with the other weight bits.

    Names that are made up here hold a dot, which no stage's id does.
    """
    about = artifact.manifest["quantized"]
    bits, other, ptq = about["weight_bits"], 15 - about["weight_bits"], "weights"
    if about["kept"] == "qat":
        trained = restored(artifact, "weights", bits)
        yield replace(_integer(name, name, "model", trained, about["kept"]), calibrated=False)
        ptq = "ptq"
    twin = name if about["qat_val_accuracy"] is None else f"{name}.ptq"
    yield _integer(twin, name, "model", restored(artifact, ptq, bits), about["kept"])
    yield _integer(f"{name}.ptq{other}", name, "calibration", restored(artifact, ptq, other), about["kept"])


def _integer(
    name: str, stage: str, role: Literal["model", "calibration"], model: QuantizedModel, kept: Literal["qat", "ptq"]
) -> Candidate:
    return Candidate(name, stage, role, "int8", model.spec, model, model.integers(), model.weight_bits, kept, True)


def restored(artifact: Artifact, weights: str, bits: int) -> QuantizedModel:
    """A quantized model from its folder; with other weight bits than it was saved with, weights are ranged anew."""
    network, spec = empty_model(artifact)
    model = QuantizedModel(network, spec, bits)
    model.load_state_dict(load_tensors(artifact, f"{weights}.safetensors"))
    model.eval()
    if bits != artifact.manifest["quantized"]["weight_bits"]:
        model.refit_weight_ranges()
    return model


def _export(candidate: Candidate, folder: Path, ctx: Context) -> dict[str, Any]:
    """Write one file, audit it, and look for what parts it from torch where it does not answer as torch does."""
    path = folder / f"{candidate.id}.onnx"
    onnx_export.export_onnx(candidate.graph, candidate.spec, path)
    agreement, parted = _agreement(candidate, path, ctx)
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        ort.session(path, ctx.target.threads, optimised=optimised)
        kernels = onnx_export.census(optimised)
    return {
        "id": candidate.id,
        "stage": candidate.stage,
        "role": candidate.role,
        "precision": candidate.precision,
        "file": path.name,
        "sha256": file_sha256(path),
        "size_bytes": path.stat().st_size,
        "params": onnx_export.count_params(path),
        "macs": onnx_export.count_macs(path),
        "agreement": agreement,
        "drift": parted,
        "kernels": asdict(kernels),
        "weight_bits": candidate.weight_bits,
        "kept": candidate.kept,
        "calibrated": candidate.calibrated,
        "max_abs_weight": onnx_export.weight_range(path),
    }


def _agreement(candidate: Candidate, path: Path, ctx: Context) -> tuple[float, dict[str, Any] | None]:
    """Share of val on which torch and ONNX Runtime choose the same class; where it is low, what parts them.

    A file for a CPU that multiplies more bits exactly than this one is run exactly: this one's saturation is not its.
    """
    exact, val = ctx.target.weight_bits > weight_bits(host_isa()), ctx.data.val
    wanted = logits_of(candidate.answer, val).numpy()
    answers = ort.predict(ort.session(path, exact=exact), val.images)
    differing = int((answers.argmax(1) != wanted.argmax(1)).sum())
    agreement = 1 - differing / len(val)
    if candidate.role != "model" or differing <= max((1 - LEAST_AGREEMENT) * len(val), ROUNDING_TIES):
        return agreement, None
    found = drift.explained(candidate.graph, path, val, wanted, answers, exact=exact)
    remedy = "" if found.kind == "rounding" else drift.remedy(found.kind, candidate.weight_bits)
    return agreement, {**asdict(found), "total": len(val), "remedy": remedy}


def _summary(about: dict[str, Any]) -> str:
    kernels = about["kernels"]
    return (
        f"{about['file']}: {about['size_bytes'] / 1000:,.0f} kB, {kernels['integer']} integer "
        f"and {kernels['float']} float kernels, agrees with torch on {about['agreement']:.2%} of val"
        + (f"; {about['drift']['kind']} parts them" if about["drift"] else "")
    )
