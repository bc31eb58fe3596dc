"""How far an ablation is, read from the store while processes work on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekd.pipeline.ablation.plan import Plan, Run
from edgekd.pipeline.ablation.time_left import ToDo, Took, seconds_left
from edgekd.pipeline.planned import looked_up
from edgekd.pipeline.status import Status, stage_status
from edgekd.store import lock
from edgekd.store.artifacts import Store


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Args:
        state: under way: a process makes one of its stages, which other runs may need too.
        detail: which stage and who, or how many are done; may be empty.
        stages: each stage's own status.
    """

    arm: str
    seed: int
    state: Literal["done", "under way", "to do", "cannot be run"]
    detail: str = ""
    stages: list[Status] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class AblationStatus:
    """Every run's status, seed by seed.

    Args:
        seconds_left: about how long the stages that are to do will take one after the other, by how long their like
            took; None while nothing alike was made.
    """

    pipeline: str
    runs: list[RunStatus]
    seconds_left: float | None

    @property
    def done(self) -> int:
        return sum(run.state == "done" for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        runs = [{key: value for key, value in vars(run).items() if key != "stages"} for run in self.runs]
        return {"pipeline": self.pipeline, "done": self.done, "seconds_left": self.seconds_left, "runs": runs}


def ablation_status(plan: Plan, models: Path) -> AblationStatus:
    """How far an ablation is; nothing is run or changed."""
    store = Store(models)
    refused = [
        RunStatus(arm.name, seed, "cannot be run", arm.error)
        for seed in plan.seeds
        for arm in plan.arms
        if arm.chain is None
    ]
    runs = sorted([*(_status(run, store) for run in plan.runs), *refused], key=lambda found: found.seed)
    stages = [(run.arm, stage) for run in runs for stage in run.stages]
    to_do = [ToDo(arm, stage.name, stage.digest) for arm, stage in stages if stage.state != "done"]
    took = [Took(arm, stage.name, stage.seconds) for arm, stage in stages if stage.seconds is not None]
    return AblationStatus(plan.base.pipeline.name, runs, seconds_left(to_do, took))


def _status(run: Run, store: Store) -> RunStatus:
    stages = [stage_status(item, store) for item in looked_up(run.drafts, store)]
    measured = run.artifacts[-1]
    measuring, done = lock.holder(store.lock(measured)), sum(stage.state == "done" for stage in stages)
    working = next((stage for stage in stages if stage.state == "under way"), None)
    if working is not None:
        return RunStatus(run.arm, run.seed, "under way", _in_words(working), stages)
    if measuring is not None:
        return RunStatus(run.arm, run.seed, "under way", f"measured by {measuring}", stages)
    if done == len(stages) and store.find(measured) is not None:
        return RunStatus(run.arm, run.seed, "done", "", stages)
    return RunStatus(run.arm, run.seed, "to do", f"{done} of {len(stages)} stages done" if done else "", stages)


def _in_words(stage: Status) -> str:
    epochs = f", epoch {stage.epoch} of {stage.epochs}" if stage.epoch is not None and stage.epochs else ""
    return f"{stage.name} by {stage.detail}{epochs}"
