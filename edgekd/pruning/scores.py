"""What makes a channel worth keeping: criteria with their own parameters, by torch-pruning's measures."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch_pruning as tp
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.config import Named, by_name
from edgekd.errors import PruningError
from edgekd.narrow import trained_safely
from edgekd.pruning.graph import Graph, all_of, first_line
from edgekd.pruning.group import Group


class Importance(Named, ABC):
    """A criterion: gives every channel of a group of layers a score; the lowest go first."""

    @property
    def gradient_images(self) -> int:
        """So many training images' gradients it needs; 0: none."""
        return 0

    @abstractmethod
    def measure(self) -> Any:
        """Takes a torch-pruning group, gives scores of its channels, shape ``(channels,)``, or None."""


class L2(Importance):
    """Norm of the weights of all layers that share the channel."""

    name: Literal["l2"] = "l2"

    def measure(self) -> Any:
        return tp.importance.GroupMagnitudeImportance(p=2)


class Taylor(Importance):
    """|weight x gradient|: about how much the loss would change without the channel.

    Source: Molchanov, Mallya, Tyree, Frosio, Kautz (2019).
    """

    name: Literal["taylor"] = "taylor"
    images: int = Field(512, ge=1, description="training images whose gradients are added")

    @property
    def gradient_images(self) -> int:
        return self.images

    def measure(self) -> Any:
        return tp.importance.GroupTaylorImportance()


class BatchNormScale(Importance):
    """Scale of the batch norm behind the channel.

    Source: Liu, Li, Shen, Huang, Yan, Zhang (2017).
    """

    name: Literal["bn"] = "bn"

    def measure(self) -> Any:
        return tp.importance.BNScaleImportance()


AnyImportance = Annotated[L2 | Taylor | BatchNormScale, Field(discriminator="name"), BeforeValidator(by_name)]
"""A criterion by its name, or with parameters: ``taylor``, ``{name: taylor, images: 2048}``."""


def accumulate_gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Leave the cross-entropy's gradient over these batches in every parameter, for ``Taylor``."""
    model.zero_grad()
    with trained_safely(model):
        for images, labels in batches:
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]


def scored(graph: Graph, group: Group, importance: Importance) -> Group:
    """The group with its channels' scores, which is kept where there are none that rank it.

    Raises:
        PruningError: this importance finds nothing to score in it.
    """
    if group.kept_because:
        return group
    try:
        scores = importance.measure()(all_of(graph, group))
    except Exception as error:
        return replace(group, kept_because=f"kept: its importance cannot be told ({first_line(error)})")
    if scores is None:
        problem = f"importance {importance.name} finds nothing to score in this group of layers"
        raise PruningError(group.layers[0], problem, "take importance: l2")
    if scores.shape != (group.channels,) or not bool(scores.isfinite().all()):
        return replace(group, kept_because="kept: its importance is not finite")
    return replace(group, scores=scores.detach().float())
