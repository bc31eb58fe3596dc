"""Export: every model of the pipeline as an ONNX file, audited and checked against torch on val."""

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from edgekd import onnx_export
from edgekd.errors import ConfigError
from edgekd.ondevice.contents import sha256_of
from edgekd.ondevice.machine import host_isa
from edgekd.onnx_export import ort
from edgekd.quantization import float_graph
from edgekd.stages import drift
from edgekd.stages.base import Context, Stage, StageId
from edgekd.stages.manifests import (
    Drift,
    Exportable,
    ExportedFile,
    ExportedFiles,
    ModelManifest,
    StageManifest,
    manifest_of,
)
from edgekd.stages.networks import network_facts
from edgekd.store.artifacts import Artifact
from edgekd.training.evaluation import logits_of
from edgekd.zoo import ModelSpec, build, fingerprint

LEAST_AGREEMENT = 0.995
ROUNDING_TIES = 3
"""So many images may fall to the other side of a tie whatever the share: val may be small."""


class Export(Stage):
    """Write every stage's model as ONNX: raw uint8 pixels in, float logits out, preprocessing inside."""

    VERSION: ClassVar[int] = 6
    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"models": ModelManifest}
    leaves: ClassVar[type[StageManifest]] = ExportedFiles
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
        models = [stage.name for stage in earlier if issubclass(stage.leaves, self.reads["models"])]
        named = models if self.models is None else self.models
        if not named:
            raise ConfigError(f"{where}.stage", "export has no model to write: no stage before it makes one", "add one")
        return {name: name for name in named}

    def key_of(self, role: str) -> str:
        return "models"

    def deciding_settings(self) -> dict[str, Any]:
        return {"stage": self.stage}

    def check_inputs(self, specs: Mapping[str, ModelSpec]) -> None:
        for spec in specs.values():
            _check_exportable(spec, network_facts(spec.name).get("source", ""))

    def run(self, ctx: Context) -> Artifact:
        return ctx.save(lambda folder: self._written(folder, ctx))

    def _written(self, folder: Path, ctx: Context) -> ExportedFiles:
        files: list[ExportedFile] = []
        warnings: list[str] = []
        for found in self._exportables(ctx):
            file = _export(found, folder, ctx)
            twin = next((other for other in files if (other.sha256, other.role) == (file.sha256, file.role)), None)
            if twin is None:
                files.append(file)
                ctx.progress.note(_summary(file))
            else:
                (folder / file.file).unlink()
                warnings.append(f"{file.id} is the same file as {twin.id} and is written once, as that")
                ctx.progress.note(warnings[-1])
        return ctx.manifest(ExportedFiles, exported=files, warnings=warnings)

    def _exportables(self, ctx: Context) -> Iterator[Exportable]:
        for done, (name, artifact) in enumerate(ctx.inputs.items()):
            ctx.progress.work(ctx.name, done, len(ctx.inputs))
            yield from manifest_of(artifact, ModelManifest).for_export(name, artifact)
        ctx.progress.work(ctx.name, len(ctx.inputs), len(ctx.inputs))


@functools.lru_cache(maxsize=16)
def _check_exportable(spec: ModelSpec, _source: str) -> None:
    """Write a network, not yet trained, as ONNX and open the file; one of the same source (digest) is not tried again.

    Raises:
        EdgekdError: it cannot be captured, written or opened.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "untrained.onnx"
        model = build(spec)
        onnx_export.export_onnx(float_graph(model, spec, fingerprint(model, spec)), spec, path)
        ort.session(path)


def _export(found: Exportable, folder: Path, ctx: Context) -> ExportedFile:
    """Write one file, audit it, and look for what parts it from torch where it does not answer as torch does."""
    path = folder / f"{found.id}.onnx"
    onnx_export.export_onnx(found.graph, found.spec, path, ctx.data.unit)
    agreement, parted = _agreement(found, path, ctx)
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        ort.session(path, ctx.target.threads, optimised=optimised)
        kernels = onnx_export.census(optimised)
    return ExportedFile(
        id=found.id,
        stage=found.stage,
        role=found.role,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        params=onnx_export.count_params(path),
        macs=onnx_export.count_macs(path),
        agreement=agreement,
        drift=parted,
        kernels=kernels,
        scheme=found.scheme.name if found.scheme else None,
        kept=found.kept,
        calibrated=found.calibrated,
        max_abs_weight=onnx_export.weight_range(path),
        weights_by_bits=onnx_export.weights_by_bits(path),
    )


def _agreement(found: Exportable, path: Path, ctx: Context) -> tuple[float, Drift | None]:
    """Share of val on which torch and ONNX Runtime choose the same class; where it is low, what parts them.

    A file whose weights this CPU does not multiply exactly, as its target does, is run operator by operator: this one's
    saturation is not the target's.
    """
    exact, val = not ctx.target.scheme.exact_on(host_isa()), ctx.data.val
    wanted = logits_of(found.answer, val).numpy()
    answers = ort.predict(ort.session(path, exact=exact), val.given)
    differing = int((answers.argmax(1) != wanted.argmax(1)).sum())
    agreement = 1 - differing / len(val)
    if found.role != "model" or differing <= max((1 - LEAST_AGREEMENT) * len(val), ROUNDING_TIES):
        return agreement, None
    return agreement, drift.explained(found.graph, path, val, wanted, answers, exact=exact, scheme=found.scheme)


def _summary(file: ExportedFile) -> str:
    return (
        f"{file.file}: {file.size_bytes / 1000:,.0f} kB, {file.kernels.integer} integer "
        f"and {file.kernels.float} float kernels, agrees with torch on {file.agreement:.2%} of val"
        + (f"; {file.drift.kind} parts them" if file.drift else "")
    )
