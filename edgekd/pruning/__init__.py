"""Structured pruning: whole channels go, along torch-pruning's dependency graph, to widths the target likes."""

from edgekd.pruning.group import Group
from edgekd.pruning.plan import Scope, plan_widths
from edgekd.pruning.prune import Pruned, WidthChange, check_prunable, prune, prune_to_macs
from edgekd.pruning.scores import L2, AnyImportance, BatchNormScale, Importance, Taylor, accumulate_gradients

__all__ = [
    "L2",
    "AnyImportance",
    "BatchNormScale",
    "Group",
    "Importance",
    "Pruned",
    "Scope",
    "Taylor",
    "WidthChange",
    "accumulate_gradients",
    "check_prunable",
    "plan_widths",
    "prune",
    "prune_to_macs",
]
