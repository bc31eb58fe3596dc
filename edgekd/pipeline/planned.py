"""A pipeline's stages with what decides their results."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.errors import EdgekdError
from edgekd.stages import Stage
from edgekd.store.artifacts import Artifact, Store


@dataclass(frozen=True)
class Planned:
    """A stage, the digest its artifact has, the stages it reads by role, and the artifact where it is up to date."""

    name: str
    stage: Stage
    digest: str
    references: dict[str, str]
    artifact: Artifact | None
    facts: dict[str, Any]


def looked_up(drafts: Sequence[Planned], store: Store) -> list[Planned]:
    """The stages with the artifacts of those that are up to date."""
    return [replace(draft, artifact=store.find(draft.digest)) for draft in drafts]


@contextlib.contextmanager
def placed(index: int, name: str) -> Iterator[None]:
    """Say in every error which stage it is about."""
    try:
        yield
    except EdgekdError as error:
        if not error.where.startswith("stages["):
            error.where = f"stages[{index}] ({name}): {error.where}"
        raise
