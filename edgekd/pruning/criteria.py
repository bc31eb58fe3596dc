"""Pruning criteria with their own parameters, computed by torch-pruning."""

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edgekd.config import Named, by_name


class Importance(Named, ABC):
    """A criterion: gives every channel of a group of layers a score; the lowest go first."""

    @property
    def gradient_images(self) -> int:
        """Number of training images whose gradients it needs; 0: none."""
        return 0

    @abstractmethod
    def measure(self) -> Any:
        """A function from a torch-pruning group to scores of its channels, shape ``(channels,)``, or None."""


class L2(Importance):
    """Norm of the weights of all layers that share the channel."""

    name: Literal["l2"] = "l2"

    def measure(self) -> Any:
        return _measures().GroupMagnitudeImportance(p=2)


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
        return _measures().GroupTaylorImportance()


class BatchNormScale(Importance):
    """Scale of the batch norm behind the channel.

    Source: Liu, Li, Shen, Huang, Yan, Zhang (2017).
    """

    name: Literal["bn"] = "bn"

    def measure(self) -> Any:
        return _measures().BNScaleImportance()


AnyImportance = Annotated[L2 | Taylor | BatchNormScale, Field(discriminator="name"), BeforeValidator(by_name)]
"""A criterion by its name, or with parameters: ``taylor``, ``{name: taylor, images: 2048}``."""


def _measures() -> Any:
    """torch-pruning's measures, imported late: that takes 1.7 s with timm, and every command reads this module."""
    from torch_pruning import importance

    return importance
