"""``edgekd pipeline ablate``: what each stage and each choice of a pipeline paid."""

from edgekd.pipeline.ablation.ablate import ablate
from edgekd.pipeline.ablation.plan import Plan, Wanted, planned
from edgekd.pipeline.ablation.status import AblationStatus, ablation_status

__all__ = ["AblationStatus", "Plan", "Wanted", "ablate", "ablation_status", "planned"]
