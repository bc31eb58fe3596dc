"""The stages; a new one is one file and one name here."""

from typing import Annotated, get_args

from pydantic import Field

from edgekd.stages.base import Context, Stage
from edgekd.stages.distill import Distill
from edgekd.stages.export import Export
from edgekd.stages.manifests import StageManifest
from edgekd.stages.prune import Prune
from edgekd.stages.ptq import Ptq
from edgekd.stages.qat import Qat
from edgekd.stages.teacher import Teacher

AnyStage = Annotated[Teacher | Prune | Distill | Ptq | Qat | Export, Field(discriminator="stage")]
STAGES: tuple[type[Stage], ...] = get_args(get_args(AnyStage)[0])
"""Every kind of stage."""

__all__ = [
    "STAGES",
    "AnyStage",
    "Context",
    "Distill",
    "Export",
    "Prune",
    "Ptq",
    "Qat",
    "Stage",
    "Teacher",
    "kinds_that_leave",
]


def kinds_that_leave(wanted: type[StageManifest]) -> list[str]:
    """The kinds of stages whose artifacts are what is wanted."""
    return [str(kind.model_fields["stage"].default) for kind in STAGES if issubclass(kind.leaves, wanted)]
