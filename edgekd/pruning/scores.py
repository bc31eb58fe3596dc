"""Importance scores of channels."""

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.errors import PruningError
from edgekd.pruning.criteria import Importance
from edgekd.pruning.graph import Graph, all_of, first_line, not_for_memory
from edgekd.pruning.group import Group
from edgekd.training.safe_backward import trained_safely


def accumulate_gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Accumulate the cross-entropy's gradient over these batches in every parameter, for ``Taylor``."""
    model.zero_grad()
    with trained_safely(model):
        for images, labels in batches:
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]


def scored(graph: Graph, group: Group, importance: Importance) -> Group:
    """The group with its channels' scores; kept if scores cannot be computed or are not finite.

    Raises:
        PruningError: this importance finds nothing to score in it.
    """
    if group.kept_because:
        return group
    try:
        scores = importance.measure()(all_of(graph, group))
    # torch-pruning 1.6.1 may raise anything on unusual groups; what cannot be ranked is kept.
    except Exception as error:
        not_for_memory(error)
        return replace(group, kept_because=f"kept: its importance cannot be computed ({first_line(error)})")
    if scores is None:
        problem = f"importance {importance.name} finds nothing to score in this group of layers"
        raise PruningError(group.layers[0], problem, "take importance: l2")
    if scores.shape != (group.channels,) or not bool(scores.isfinite().all()):
        return replace(group, kept_because="kept: its importance is not finite")
    return replace(group, scores=scores.detach().float())
