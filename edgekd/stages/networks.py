"""The network that a stage builds: how, with which stem, and what decides it besides its name."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from edgekd.config.functions import is_function, source_digest
from edgekd.data import Dataset
from edgekd.errors import ConfigError, ModelError
from edgekd.stages.base import AUTO
from edgekd.zoo import ModelSpec, Stem, has_two_stems

StemChoice = Annotated[
    Stem,
    Field(
        description="of torchvision's and timm's networks; small: the first convolution keeps the resolution (stride "
        "1, no pool behind a large kernel), standard: as published; auto: small up to 64 pixels"
    ),
]


def fresh_spec(name: str, data: Dataset, width_mult: float, stem: Stem) -> ModelSpec:
    """How a fresh network for a dataset is built."""
    return ModelSpec(
        name=name,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        image_size=data.image_size,
        width_mult=width_mult,
        stem=stem,
    )


def network_facts(name: str) -> dict[str, str]:
    """What else than its name decides the network that a stage builds: a user's function is what its source says."""
    return {"source": source_digest(name)} if is_function(name) else {}


def check_stem(name: str, stem: Stem) -> None:
    """Raise ModelError where a stem is chosen for a network that has one alone."""
    if stem != AUTO and not has_two_stems(name):
        raise ModelError("stem", f"is not read, since {name} has one stem alone", "leave it out")


@contextlib.contextmanager
def model_errors(where: str) -> Iterator[None]:
    """Say of a ModelError which setting of which stage is wrong."""
    try:
        yield
    except ModelError as error:
        raise ConfigError(f"{where}.{error.where}", error.problem, error.remedy) from None
