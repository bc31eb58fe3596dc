"""Feature terms: what layers inside the student see, held against the teacher's; ``AnyFeatures`` is the choice.

All are pure functions of two outputs, of student and teacher, shape ``(batch, channels, height, width)``, for the same
images. No gradient flows into the teacher's.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn import functional as F

from edgekd.config import Named, by_name
from edgekd.errors import ShapeError


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared difference of the attention maps, mean over images and places.

    Args:
        student: any number of channels.
        teacher: any number of channels, same height and width.

    Returns:
        A scalar, at most 1 / places; 0 where both look at the same places.

    Raises:
        ShapeError: batch, height or width differ.

    Source: Zagoruyko, Komodakis (2017), equation 2 with p = 2, squared, its beta divided by the number of places, as
    section 4.1 says.
    """
    _check_alike(student, teacher, (0, 2, 3))
    return 0.5 * F.mse_loss(attention_map(student), attention_map(teacher.detach()))


def attention_map(features: Tensor) -> Tensor:
    """The sum of squares over the channels, scaled to a norm of 1: shape ``(batch, places)``."""
    return F.normalize(features.float().square().sum(1).flatten(1), dim=1)


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the two similarity matrices, divided by the square of the batch.

    Args:
        student: any number of channels, any height and width.
        teacher: the same number of images.

    Returns:
        A scalar; 0 where the same images look alike to both.

    Raises:
        ShapeError: the batches differ.

    Source: Tung, Mori (2019), equations 2 to 4.
    """
    _check_alike(student, teacher, (0,))
    return F.mse_loss(similarities(student), similarities(teacher.detach()))


def similarities(features: Tensor) -> Tensor:
    """Products of every two images' features, each row scaled to a norm of 1: shape ``(batch, batch)``."""
    rows = features.float().flatten(1)
    return F.normalize(rows @ rows.T, dim=1)


def channels_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference, channel to channel, relative to the teacher's mean square.

    That makes it independent of the size of the layer and of its numbers: 1 is what a student of zeros has.

    Args:
        student: outputs of what pruning left.
        teacher: the same channels of the network that the student was cut from, same shape.

    Raises:
        ShapeError: the shapes differ.

    Source: Romero, Ballas, Kahou, Chassang, Gatta, Bengio (2015), equation 3, without the regressor.
    """
    _check_alike(student, teacher, (0, 1, 2, 3))
    wanted = teacher.detach().float()
    # A layer that is silent for all images has nothing to teach.
    return F.mse_loss(student.float(), wanted) / wanted.square().mean().clamp(min=1e-12)


class Features(Named, ABC):
    """A feature term, chosen by name: summed over the places that are compared, times its weight."""

    pairs_channels: ClassVar[bool] = False
    """Does it need the teacher's channels that a pruned student has kept?"""
    weight: float

    @abstractmethod
    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """A scalar: see the function of the same name."""


class Attention(Features):
    """Where they look."""

    name: Literal["attention"] = "attention"
    weight: float = Field(1000.0, gt=0, description="of the term, beside alpha and beta")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_loss(student, teacher)


class Similarity(Features):
    """Which images look alike to them."""

    name: Literal["similarity"] = "similarity"
    weight: float = Field(3000.0, gt=0, description="of the term, beside alpha and beta")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_loss(student, teacher)


class Channels(Features):
    """What each channel that pruning kept says."""

    name: Literal["channels"] = "channels"
    pairs_channels: ClassVar[bool] = True
    weight: float = Field(1.0, gt=0, description="of the term, beside alpha and beta")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return channels_loss(student, teacher)


AnyFeatures = Annotated[Attention | Similarity | Channels, Field(discriminator="name"), BeforeValidator(by_name)]
"""A feature term by its name, or with its weight: ``attention``, ``{name: attention, weight: 500}``."""


def _check_alike(student: Tensor, teacher: Tensor, axes: tuple[int, ...]) -> None:
    shapes = tuple(student.shape), tuple(teacher.shape)
    if {student.dim(), teacher.dim()} != {4} or any(shapes[0][axis] != shapes[1][axis] for axis in axes):
        names = ("batch", "channels", "height", "width")
        alike = f"(batch, channels, height, width) and alike in {', '.join(names[axis] for axis in axes)}"
        raise ShapeError("features", f"must be {alike}, found student {shapes[0]}, teacher {shapes[1]}")
