"""The stages; a new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from edgekd.stages.base import Context, Stage
from edgekd.stages.distill import Distill
from edgekd.stages.export import Export
from edgekd.stages.prune import Prune
from edgekd.stages.ptq import Ptq
from edgekd.stages.qat import Qat
from edgekd.stages.teacher import Teacher

AnyStage = Annotated[Teacher | Prune | Distill | Ptq | Qat | Export, Field(discriminator="stage")]

__all__ = ["AnyStage", "Context", "Distill", "Export", "Prune", "Ptq", "Qat", "Stage", "Teacher"]
