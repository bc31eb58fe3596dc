"""The schema of ablation.json: what each stage and each choice of a pipeline paid, over several seeds."""

from typing import Literal

from pydantic import Field

from edgekd.report.record import Count, Milliseconds, Record, Share
from edgekd.report.schema import DataFacts, Ratio, TargetFacts

FILE, PAGE = "ablation.json", "ablation.html"
ABLATION_VERSION = 1
"""Increased when older readers can no longer read an ablation."""
BASE = "base"
"""Name of the runs of the file itself."""


class Points(Record):
    """Accuracy of one file minus another's, mean over seeds, 0..1; above 0 is better."""

    difference: float
    ci95: tuple[float, float]

    @property
    def measured(self) -> bool:
        """True where the interval leaves out 0: there is a difference."""
        return not self.ci95[0] <= 0.0 <= self.ci95[1]


class Change(Record):
    """One file against another, over the seeds with which both were made."""

    seeds: list[int]
    test: Points
    val: Points
    size_ratio: Ratio = Field(description="bytes, this one's divided by the other's")
    macs_ratio: Ratio
    latency_ratio: Ratio


class StagePaid(Record):
    """A stage's file against that of the stage before it."""

    id: str
    stage: str = Field(description="its kind")
    before: str = Field(description="id of the stage before it")
    change: Change


class ArmPaid(Record):
    """The arm's file against the file's own."""

    name: str
    sentence: str = Field(description="what is other than in the pipeline file")
    settings: list[str] = Field(description="the settings that differ, a line each")
    steps: Count = Field(description="training steps of the student in all its stages")
    change: Change | None = Field(description="None: not run yet with any seed, or it could not be")
    error: str = Field("", description="why it could not be run, with some seed; empty where it could")


class RunFigures(Record):
    """The compared file of one run."""

    arm: str
    seed: int
    file: str = Field(description="id of the exported file")
    kept: Literal["qat", "ptq"] | None = Field(description="trained or calibrated integers; None: floats")
    correct: Count
    total: Count
    accuracy: Share = Field(description="on test")
    val_accuracy: Share
    size_bytes: Count
    macs: Count
    params: Count
    latency_p50_ms: Milliseconds
    latency_ratio: Ratio = Field(description="to the teacher's file of the same run")
    digests: list[str] = Field(description="of the artifacts that it was made from, and its own")


class Ablation(Record):
    """Everything that ablation.json says."""

    schema_version: int = Field(ABLATION_VERSION, serialization_alias="schema", validation_alias="schema")
    pipeline: str
    created: str
    compared: str = Field(description="id of the stage whose file is compared")
    reference: str = Field(description="id of the teacher stage against which latency is measured")
    seeds: list[int] = Field(description="that were asked for")
    steps: Count = Field(description="training steps of the student, by the file")
    stages: list[StagePaid]
    arms: list[ArmPaid]
    runs: list[RunFigures]
    target: TargetFacts
    data: DataFacts
    environment: dict[str, str]

    @property
    def runs_left(self) -> int:
        """How many runs have not ended yet."""
        failed = sum(bool(arm.error) for arm in self.arms)
        wanted = len(self.seeds) * (1 + len(self.arms) - failed)
        return max(0, wanted - sum(self._counts(run) for run in self.runs))

    def _counts(self, run: RunFigures) -> bool:
        return run.arm == BASE or any(arm.name == run.arm and not arm.error for arm in self.arms)
