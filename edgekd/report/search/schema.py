"""The schema of front.json: what a search tried, and the files of it that no other beats."""

from typing import Any, Literal

from pydantic import Field

from edgekd.report.record import Count, Record, Share
from edgekd.report.schema import Check, Drift, Latency, Outcome, Paired, Ratio, TargetFacts

FILE, PAGE, BEST = "front.json", "front.html", "best.yaml"
"""In the search's folder: the record, its page, and the pipeline file of the best trial."""
SEARCH_VERSION = 1
"""Increased when older readers can no longer read a front; a new field with a default is no reason."""


class Contender(Record):
    """The file that a trial would ship, as it does on val."""

    id: str = Field(description="of the file, as the trial's export stage calls it")
    stage: str = Field(description="kind of the stage that made it")
    precision: str
    sha256: str
    size_bytes: Count
    size_ratio: float = Field(description="bytes, of the teacher's")
    macs: Count
    params: Count
    latency_ms: Latency
    latency_ratio: Ratio = Field(description="latency, of the teacher's")
    val_paired: Paired = Field(description="on val, against the teacher")
    drift: Drift | None = None
    misses: list[str] = Field([], description="what keeps it from being recommended, in words; empty: nothing does")

    @property
    def accuracy(self) -> float:
        """On val, 0..1."""
        return self.val_paired.accuracy


class Tried(Record):
    """One trial: the file with other values for some settings."""

    number: Count
    values: dict[str, Any] = Field(description="setting -> the value that was tried")
    outcome: Literal["measured", "stopped early", "could not be run"]
    detail: str = Field("", description="why it was stopped, or could not be run")
    seconds: float = Field(description="that it took, without what other trials had made before")
    contender: Contender | None = Field(None, description="where it was measured")
    excess: float = Field(0.0, description="how far it is beyond the budget; 0 where it keeps it")
    digests: list[str] = Field([], description="of the stages in order")


class OnTest(Record):
    """A file's answers on test, read once, when everything was decided."""

    accuracy: Share
    accuracy_ci95: tuple[Share, Share]
    drop: float = Field(description="teacher's accuracy minus this one's")
    drop_ci95: tuple[float, float]
    correct: Count
    total: Count


class Standing(Record):
    """A file, measured beside the others that were chosen for it: latencies are of the same rounds."""

    trial: Count
    contender: Contender
    on_front: bool = Field(description="no other file of these beats it in accuracy on val, bytes and latency at once")
    on_test: OnTest


class AgainstFile(Record):
    """The best trial's file against that of the pipeline file as it is."""

    trial: Count = Field(description="with the file's own values")
    accuracy_difference: float = Field(description="on test, the best one's minus the file's")
    accuracy_ci95: tuple[float, float]
    p_value: float = Field(description="McNemar's exact test")
    size_ratio: float = Field(description="the best one's bytes, of the file's")
    latency_ratio: Ratio = Field(description="the best one's latency, of the file's")


class Teacher(Record):
    """The file that all ratios refer to: the pipeline file's own teacher."""

    id: str
    sha256: str
    size_bytes: Count
    latency_ms: Latency
    val_accuracy: Share
    test_accuracy: Share
    seconds: float = Field(description="that its training took, once for all trials")


class Front(Record):
    """Everything that front.json says."""

    schema_version: int = Field(SEARCH_VERSION, serialization_alias="schema", validation_alias="schema")
    pipeline: str
    file: str = Field(description="the pipeline file that was searched around, without its folder")
    created: str
    sampler: str
    seed: int
    space: dict[str, Any] = Field(description="setting -> the values that were allowed")
    budget: dict[str, float]
    target: TargetFacts
    images: str = Field(description="dataset, and how many images of val and test")
    teacher: Teacher
    trials: list[Tried]
    standings: list[Standing] = Field(description="measured together, the fastest first")
    best: Count = Field(description="the trial that the rule of a report's verdict takes, on val")
    outcome: Outcome = Field(
        description="does the best trial's file keep the budget, chosen on val and judged on test?"
    )
    checks: list[Check] = Field(description="of the best trial's file, on test")
    reason: str
    against_file: AgainstFile | None = Field(description="None: the file's own values are not among those searched")

    @property
    def best_standing(self) -> Standing:
        return next(standing for standing in self.standings if standing.trial == self.best)

    @property
    def seconds(self) -> float:
        """Work of all workers together, the teacher's training among it."""
        return self.teacher.seconds + sum(trial.seconds for trial in self.trials)

    def tried(self, number: int) -> Tried:
        """A trial by its number."""
        return next(trial for trial in self.trials if trial.number == number)
