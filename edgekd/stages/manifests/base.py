"""What manifest.json says of an artifact: a record of its kind, in which nothing is looked up by a string."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from edgekd.training.classes import ClassCounts
from edgekd.training.history import EpochLog, History


class Part(BaseModel):
    """A frozen piece of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(Part):
    """What decided an artifact: the digest is of this, but for the names of the stage.

    Args:
        settings: those of the stage that decide its result.
        version: of what the stage does.
        parents: digests of the artifacts that it read, by role.
        data: fingerprint and augmentation of the images.
        target: what of the target decides the result.
        id: the stage's name in its pipeline.
        stage: its kind.
    """

    settings: dict[str, Any]
    version: int
    parents: dict[str, str]
    data: dict[str, Any]
    seed: int
    target: dict[str, str]
    id: str
    stage: str


class Training(Part):
    """How a training went: see ``History``."""

    epochs: list[EpochLog]
    best_epoch: int
    best_accuracy: float
    classes: ClassCounts | None = None

    @classmethod
    def of(cls, history: History) -> "Training":
        return cls(
            epochs=history.epochs,
            best_epoch=history.best_epoch,
            best_accuracy=history.best_accuracy,
            classes=history.classes,
        )


class Manifest(Part):
    """What an artifact is."""

    kind: str

    @property
    def made_from(self) -> dict[str, str]:
        """Digests of the artifacts that this one was made from, by role."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Who made it, in a list of artifacts."""
        raise NotImplementedError


class StageManifest(Manifest):
    """What a stage leaves.

    Args:
        environment: versions and machine of those that made it.
        seconds: that they took.
        history: of its training, if there was one.
        warnings: what a user should know of it.
    """

    noun: ClassVar[str]
    """What it is called in an error."""

    facts: Facts
    environment: dict[str, str]
    seconds: float
    history: Training | None = None
    warnings: list[str] = []

    @property
    def made_from(self) -> dict[str, str]:
        return self.facts.parents

    @property
    def label(self) -> str:
        return " ".join(dict.fromkeys([self.facts.stage, self.facts.id]))

    @property
    def accuracy(self) -> float | None:
        """Of what was kept, on val, 0..1; None where nothing was evaluated."""
        return None

    @property
    def told(self) -> list[str]:
        """Sentences for the report, as they follow the stage's name."""
        processes = self.environment.get("processes")
        shared = f"trained by {processes} processes, each normalising its own share of a batch"
        return [*self.warnings, *([shared] if processes and self.history else [])]
