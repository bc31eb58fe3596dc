"""A pipeline's stages with their digests, and what they share while they run."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.config.progress import Progress
from edgekd.data import Dataset
from edgekd.errors import EdgekdError
from edgekd.stages import Stage
from edgekd.store.artifacts import Artifact, Store
from edgekd.training.parallel import Processes
from edgekd.zoo import ModelSpec


@dataclass(frozen=True)
class Planned:
    """A stage on its way.

    Args:
        references: the stages it reads, by role.
        artifact: if it is up to date.
        facts: what decides its result.
        spec: how the network that it leaves is built; None where it leaves none.
    """

    name: str
    stage: Stage
    digest: str
    references: dict[str, str]
    artifact: Artifact | None
    facts: dict[str, Any]
    spec: ModelSpec | None = None


def looked_up(drafts: Sequence[Planned], store: Store) -> list[Planned]:
    """The stages, with artifacts where they are up to date."""
    return [replace(draft, artifact=store.find(draft.digest)) for draft in drafts]


@contextlib.contextmanager
def placed(index: int, name: str) -> Iterator[None]:
    """Add the stage to the place of every error."""
    try:
        yield
    except EdgekdError as error:
        if not error.where.startswith("stages["):
            error.where = f"stages[{index}] ({name}): {error.where}"
        raise


@dataclass(frozen=True)
class Run:
    """What every stage of a run shares; see ``Pipeline.outcome``."""

    data: Dataset
    store: Store
    force: bool
    progress: Progress
    processes: Processes
    waits: bool
