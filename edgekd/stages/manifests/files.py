"""Artifacts that are about exported files: the files, and what was measured on them."""

from typing import ClassVar, Literal

from pydantic import Field

from edgekd.config.schemes import Scheme, scheme_named
from edgekd.onnx_export import Census
from edgekd.stages.manifests.base import Manifest, Part, StageManifest
from edgekd.stages.manifests.models import Kept

MEASUREMENT = "measurement"


class Drift(Part):
    """Why a file often chooses another class than the torch model that it was made of.

    Args:
        kind: rounding: every tensor is right; saturation: only as the CPU runs it; graph: exactly run too.
        images: of val, on which they choose another class.
        total: images of val.
        largest: largest difference of a logit on val.
        layers: those that are wrong, the worst first.
        remedy: what a user can do about it.
    """

    kind: Literal["rounding", "saturation", "graph"]
    images: int
    total: int
    largest: float
    layers: list[str]
    remedy: str


class ExportedFile(Part):
    """One ONNX file.

    Args:
        id: of the model in it; ``file`` is its name.
        stage: id of the stage that made the model.
        role: model, or calibration: only there to show what another scheme does.
        agreement: share of val on which torch and ONNX Runtime choose one class.
        scheme: of its integers, by name; None where it holds floats.
        kept: which its quantizing stage kept.
        calibrated: are its integers the calibrated ones?
        max_abs_weight: largest |q| of any int8 weight.
        weights_by_bits: weights by the bits that their tensor takes.
    """

    id: str
    stage: str
    role: Literal["model", "calibration"]
    file: str
    sha256: str
    size_bytes: int
    params: int
    macs: int
    agreement: float
    drift: Drift | None
    kernels: Census
    scheme: str | None
    kept: Kept | None
    calibrated: bool
    max_abs_weight: int | None
    weights_by_bits: dict[int, int] = Field(default_factory=dict)

    @property
    def integers(self) -> Scheme | None:
        """The scheme of its integers; None where it holds floats."""
        return scheme_named(self.scheme) if self.scheme else None

    @property
    def precision(self) -> str:
        """In a word: of what its weights are."""
        return self.integers.storage if self.integers else "float32"


class ExportedFiles(StageManifest):
    """ONNX files, in order."""

    noun: ClassVar[str] = "exported files"

    kind: Literal["exported files"] = "exported files"
    exported: list[ExportedFile]

    @property
    def models(self) -> list[ExportedFile]:
        """Those that may ship."""
        return [file for file in self.exported if file.role == "model"]


class Costs(Part):
    """What a file costs before it answers: time to open it, and the memory of a process that runs it alone."""

    load_ms: float
    peak_rss_bytes: int | None


class Measurements(Manifest):
    """What was measured on exported files: ``predictions.safetensors`` and ``latency.json``.

    Args:
        costs: by the file's id; empty: measured by an older edgekd.
    """

    kind: Literal["measurements"] = "measurements"
    saturates: bool
    parents: dict[str, str]
    costs: dict[str, Costs] = Field(default_factory=dict)

    @property
    def made_from(self) -> dict[str, str]:
        return self.parents

    @property
    def label(self) -> str:
        return MEASUREMENT
