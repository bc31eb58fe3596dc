"""One trial: the pipeline file with some values put in, run as any other, and its best file judged on val."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from edgekd.config.progress import Progress
from edgekd.data import Dataset, DataSettings, load_dataset
from edgekd.errors import (
    ConfigError,
    DataError,
    ExportError,
    ModelError,
    PruningError,
    QuantizationError,
    ShapeError,
    TrainingError,
)
from edgekd.pipeline.pipeline import Made, Pipeline
from edgekd.pipeline.search.contending import Reference, contest
from edgekd.pipeline.search.measuring import Measurer, TrialFile
from edgekd.pipeline.search.space import Values, with_values
from edgekd.report.fitting import KEEPS_UP, Budget, Shortfall, shortfalls
from edgekd.report.search.schema import Contender, Tried
from edgekd.report.verdict import best_on_val
from edgekd.report.wording import percent
from edgekd.stages import Distill, Export, Teacher
from edgekd.stages.manifests import ExportedFiles, manifest_of

OF_THE_TRIAL = (
    ConfigError,
    DataError,
    ModelError,
    PruningError,
    QuantizationError,
    ExportError,
    TrainingError,
    ShapeError,
)
"""Errors that say something of a trial's values, not of the disk or the machine, which would stop all others too."""
TEACHER, DISTILL = "teacher", "distill"
HOPELESS = 0.02
"""A student so much further below the teacher on val than the budget allows goes no further: integers win back less."""
WORST = 100.0
"""The excess of what cannot be run at all, or computes something else."""


class Images:
    """Datasets, each read once for all trials."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._read: dict[str, Dataset] = {}

    def of(self, settings: DataSettings) -> Dataset:
        """The dataset of some settings, its fingerprint known."""
        key = settings.model_dump_json()
        if key not in self._read:
            data = load_dataset(settings, self._progress)
            self._read[key] = replace(data, known_fingerprint=data.fingerprint())
        return self._read[key]


@dataclass(frozen=True)
class Bench:
    """Where trials are run and measured.

    Args:
        tree: the pipeline file.
        where: its name in errors.
        models: folder of the model store.
    """

    tree: dict[str, Any]
    where: str
    budget: Budget
    models: Path
    images: Images
    measurer: Measurer
    progress: Progress

    def telling(self, progress: Progress) -> "Bench":
        """The same, informing someone else."""
        return replace(self, progress=progress, measurer=replace(self.measurer, progress=progress))

    def pipeline(self, values: Values) -> Pipeline:
        """The file with these values."""
        return Pipeline.from_tree(with_values(self.tree, values), self.where)

    @contextlib.contextmanager
    def made(self, pipeline: Pipeline, waits: bool = True) -> Iterator[tuple[Made, Dataset]]:
        """A pipeline's artifacts, run where they are missing, kept from being collected; and its images."""
        data = self.images.of(pipeline.data)
        with pipeline.made(self.models, data, progress=self.progress, waits=waits) as made:
            assert made is not None, "one process alone runs it"
            yield made, data

    def reference(self) -> Reference:
        """The file's teacher, trained and exported unless that was done; another process that does it is waited for."""
        whole = self.pipeline({})
        teacher = next((stage for stage in whole.stages if isinstance(stage, Teacher)), whole.stages[0])
        alone = whole.model_copy(update={"stages": [teacher, Export()]})
        with self.made(alone) as (made, data):
            (file,) = files_of(made, data)
            right = self.measurer.right(file, "val")
            return Reference(file, right, data.val.labels, made.subject.stages[teacher.name].made.seconds)


def try_out(bench: Bench, reference: Reference, number: int, values: Values, *, waits: bool) -> Tried:
    """Run a trial and judge it on val; test is not read.

    Raises:
        BusyError: another process makes one of its artifacts; unless ``waits``, which waits for that.
        EdgekdError: the disk or the machine fails.
    """
    began = time.monotonic()
    try:
        found = _judged(bench, reference, bench.pipeline(values), waits)
    except OF_THE_TRIAL as error:
        found = _Judged("could not be run", str(error), WORST)
    return Tried(number=number, values=dict(values), seconds=time.monotonic() - began, **vars(found))


@dataclass(frozen=True)
class _Judged:
    """What was found of a trial; see ``Tried``."""

    outcome: Literal["measured", "stopped early", "could not be run"]
    detail: str = ""
    excess: float = 0.0
    contender: Contender | None = None
    digests: list[str] = field(default_factory=list)


def _judged(bench: Bench, reference: Reference, pipeline: Pipeline, waits: bool) -> _Judged:
    _check_same_images(bench.images.of(pipeline.data), reference)
    student = _up_to_distillation(pipeline)
    if student is not None:
        with bench.made(student, waits) as (made, _):
            hopeless = _hopeless(made, reference, bench.budget)
            if hopeless is not None:
                return _Judged("stopped early", hopeless.words, hopeless.excess, digests=_digests(made))
    with bench.made(pipeline, waits) as (made, data):
        found, short = _best_file(bench, reference, made, data)
        return _Judged("measured", "", excess_of(short), found, _digests(made))


def _check_same_images(data: Dataset, reference: Reference) -> None:
    """Raise DataError where val shows other pictures than the reference's, so that nothing can be paired."""
    if not torch.equal(data.val.labels, reference.labels):
        found = "val has other images than in the file itself"
        raise DataError("data", found, "search only settings of data that leave the images as they are")


def _up_to_distillation(pipeline: Pipeline) -> Pipeline | None:
    """The pipeline up to its last distillation; None where nothing is distilled."""
    numbers = [number for number, stage in enumerate(pipeline.stages) if isinstance(stage, Distill)]
    return pipeline.model_copy(update={"stages": pipeline.stages[: numbers[-1] + 1]}) if numbers else None


def _hopeless(made: Made, reference: Reference, budget: Budget) -> Shortfall | None:
    """Why no integer file of these students can keep the budget; None where one may."""
    students = {name: done.made.accuracy for name, done in made.subject.stages.items() if done.kind == DISTILL}
    best, name = max((accuracy or 0.0, name) for name, accuracy in students.items())
    allowed = KEEPS_UP if budget.accuracy_drop is None else budget.accuracy_drop
    beyond = reference.accuracy - best - allowed
    if beyond <= HOPELESS:
        return None
    told = f"{name} has {percent(best)} on val, the teacher {percent(reference.accuracy)}"
    return Shortfall(f"{told}; {100 * allowed:g} points fewer are allowed", beyond / max(abs(allowed), 0.01))


def _digests(made: Made) -> list[str]:
    return [done.artifact.digest for done in made.subject.stages.values()]


def _best_file(bench: Bench, reference: Reference, made: Made, data: Dataset) -> tuple[Contender, list[Shortfall]]:
    """The file that the trial would ship, decided on val, and what keeps it from being recommended."""
    students = {file.about.id: file for file in files_of(made, data) if file.stage != TEACHER}
    found = contest(bench.measurer, reference, students)
    best = best_on_val(found.files, bench.budget, found.teacher, found.ratio)
    short = shortfalls(best, bench.budget, found.teacher)
    return best.model_copy(update={"misses": [item.words for item in short]}), short


def excess_of(short: Sequence[Shortfall]) -> float:
    """How far a file is beyond the budget in all; 0 where it keeps it."""
    return sum(min(item.excess, WORST) for item in short)


def files_of(made: Made, data: Dataset) -> list[TrialFile]:
    """The exported files that may ship."""
    exported = made.exported
    assert exported is not None, "it has an export stage"
    return [
        TrialFile(about, made.subject.stages[about.stage].kind, exported, data)
        for about in manifest_of(exported, ExportedFiles).models
    ]
