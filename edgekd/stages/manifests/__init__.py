"""What artifacts are: a new kind is one class, and one name in ``AnyManifest``."""

from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from edgekd.config import dotted
from edgekd.errors import ArtifactError
from edgekd.stages.manifests.base import Facts, Manifest, StageManifest, Training
from edgekd.stages.manifests.files import MEASUREMENT, Costs, Drift, ExportedFile, ExportedFiles, Measurements
from edgekd.stages.manifests.models import (
    Exportable,
    FloatModel,
    IntegerModel,
    LayerBits,
    LayerWidth,
    ModelManifest,
    Network,
    Pruning,
    Quantized,
    Search,
    Size,
    Trial,
)
from edgekd.stages.manifests.upgrade import upgraded
from edgekd.store.artifacts import Artifact

AnyManifest = Annotated[FloatModel | IntegerModel | ExportedFiles | Measurements, Field(discriminator="kind")]

__all__ = [
    "MEASUREMENT",
    "AnyManifest",
    "Costs",
    "Drift",
    "Exportable",
    "ExportedFile",
    "ExportedFiles",
    "Facts",
    "FloatModel",
    "IntegerModel",
    "LayerBits",
    "LayerWidth",
    "Manifest",
    "Measurements",
    "ModelManifest",
    "Network",
    "Pruning",
    "Quantized",
    "Search",
    "Size",
    "StageManifest",
    "Training",
    "Trial",
    "manifest_of",
]

_READ: TypeAdapter[Manifest] = TypeAdapter(AnyManifest)
_OF_THE_STORE = {"digest", "format", "files"}
M = TypeVar("M", bound=Manifest)


def manifest_of(artifact: Artifact, kind: type[M]) -> M:
    """What an artifact says of itself.

    Args:
        artifact: as the store gave it.
        kind: what it must be; ``Manifest`` where that does not matter.

    Raises:
        ArtifactError: it is of another kind, or not what this edgekd writes.
    """
    plain: dict[str, Any] = {key: value for key, value in artifact.manifest.items() if key not in _OF_THE_STORE}
    try:
        found = _READ.validate_python(upgraded(plain))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"its manifest was written by another edgekd ({dotted(first['loc'])}: {first['msg']})"
        raise ArtifactError(str(artifact.folder), problem, "delete the folder and run again") from None
    if not isinstance(found, kind):
        raise ArtifactError(str(artifact.folder), f"holds {found.kind}", f"{kind.__name__} was asked for")
    return found
