"""How far a pipeline is, read from the store while other processes work on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ArtifactError
from edgekd.pipeline import Pipeline, Planned
from edgekd.report.shipped import shipped_digests
from edgekd.stages.manifests import ExportedFiles, StageManifest, manifest_of
from edgekd.store import lock
from edgekd.store.artifacts import Store
from edgekd.training.checkpoint import Checkpoints

State = Literal["done", "under way", "stopped", "damaged", "to do"]


@dataclass(frozen=True)
class Status:
    """How far a stage is.

    Args:
        name: the stage's id; ``report`` for what comes after the last.
        state: stopped: there are checkpoints, and no run is continuing them.
        detail: the process that works on it, or what is wrong; may be empty.
        epoch: finished epochs of a stage that is under way or stopped; None if there are none.
        epochs: planned epochs; None if the stage has none.
        seconds: how long it took; None if unknown.
    """

    name: str
    stage: str
    digest: str
    state: State
    detail: str = ""
    epoch: int | None = None
    epochs: int | None = None
    seconds: float | None = None


def pipeline_status(pipeline: Pipeline, models: Path, exports: Path) -> list[Status]:
    """Every stage's status and, if there is an export stage, the report's; nothing is run or changed."""
    planned, store = pipeline.plan(models), Store(models)
    reported = any(issubclass(stage.leaves, ExportedFiles) for stage in pipeline.stages)
    return [
        *(stage_status(item, store) for item in planned),
        *([_report(planned, exports / pipeline.name / "report.json")] if reported else []),
    ]


def stage_status(item: Planned, store: Store) -> Status:
    """How far one stage is."""
    about = (item.name, item.stage.kind, item.digest)
    epochs = getattr(item.stage, "epochs", None)
    who = lock.holder(store.lock(item.digest))
    # Checked first: a run with --force remakes artifacts that are up to date.
    if who is not None:
        return Status(*about, "under way", who, _epoch(item, store), epochs)
    if item.artifact is not None:
        return Status(*about, "done", epochs=epochs, seconds=manifest_of(item.artifact, StageManifest).seconds)
    damage, epoch = store.damage(item.digest), _epoch(item, store)
    if damage is not None:
        return Status(*about, "damaged", damage, epoch, epochs)
    return Status(*about, "to do" if epoch is None else "stopped", "", epoch, epochs)


def _epoch(item: Planned, store: Store) -> int | None:
    saved = Checkpoints(store.partial(item.digest)).latest()
    return None if saved is None else len(saved.facts["logs"])


def _report(planned: list[Planned], path: Path) -> Status:
    about = ("report", "report", "")
    try:
        shipped = shipped_digests(path)
    except ArtifactError as error:
        return Status(*about, "damaged", str(error))
    if shipped == [item.digest for item in planned]:
        return Status(*about, "done")
    return Status(*about, "to do", "" if shipped is None else "the one that lies there is about other settings")


def as_json(pipeline: Pipeline, found: list[Status]) -> dict[str, Any]:
    """The same as plain data."""
    return {"pipeline": pipeline.name, "stages": [vars(status) for status in found]}
