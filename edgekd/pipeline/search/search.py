"""``edgekd search``: from a pipeline file to the front of its trials, in as many processes as run the command."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bundle.alone import alone
from edgekd.config import read_yaml, with_overrides
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError
from edgekd.pipeline.checks import check_writable
from edgekd.pipeline.pipeline import Pipeline
from edgekd.pipeline.search.best_file import best_yaml
from edgekd.pipeline.search.default_space import own_values, space_of
from edgekd.pipeline.search.front import front_of
from edgekd.pipeline.search.measuring import Measurer
from edgekd.pipeline.search.study import Plan, SamplerName, Trials, trials_of
from edgekd.pipeline.search.trial import TEACHER, Bench, Images
from edgekd.pipeline.search.worker import OfTrial, Worker
from edgekd.report.search.page import render_search_html
from edgekd.report.search.schema import BEST, FILE, PAGE, Front
from edgekd.stages.manifests import ExportedFiles, ModelManifest
from edgekd.store.artifacts import Store, digest_of
from edgekd.store.disk import disk_errors

STUDY = "study.db"
"""In the search's folder, unless another storage is named."""


@dataclass(frozen=True)
class Places:
    """Where a search reads and writes: folders of models and of exports, and Optuna's storage if it is another."""

    models: Path
    exports: Path
    storage: str | None = None

    def folder(self, name: str) -> Path:
        """What is found of a pipeline of this name."""
        return self.exports / f"{name}.search"


def search(
    file: Path,
    overrides: Iterable[str],
    wanted: int,
    places: Places,
    sampler: SamplerName,
    progress: Progress,
) -> Front:
    """Work on a search until so many trials as wanted are done, by all its workers; then measure the front.

    Args:
        file: the pipeline file.
        overrides: ``key.path=value`` each.
        wanted: trials in all.
        places: where it reads and writes.
        sampler: who proposes values.
        progress: informed about what happens.

    Raises:
        EdgekdError: a mistake, reported in one line.
    """
    tree = with_overrides(read_yaml(file), overrides)
    pipeline = Pipeline.from_tree(tree, str(file))
    _check_exports(pipeline, str(file))
    folder = places.folder(pipeline.name)
    check_writable(places.models, folder)
    store, images = Store(places.models), Images(progress)
    measurer = Measurer(store, pipeline.target, pipeline.seed, progress)
    bench = Bench(tree, str(file), pipeline.budget, places.models, images, measurer, progress)
    plan = _plan(bench, pipeline, places.storage or str(folder / STUDY), sampler)
    with trials_of(plan, store) as trials:
        front = _searched(bench, plan, trials, own_values(pipeline, plan.space), wanted)
    _write(folder, front, tree, progress)
    return front


def _check_exports(pipeline: Pipeline, where: str) -> None:
    """Raise ConfigError unless something is exported that may be better than the teacher."""
    if not any(issubclass(stage.leaves, ExportedFiles) for stage in pipeline.stages):
        raise ConfigError(f"{where}: stages", "there is no export stage, so no file to judge", "add {stage: export}")
    if not any(issubclass(stage.leaves, ModelManifest) and stage.kind != TEACHER for stage in pipeline.stages):
        raise ConfigError(f"{where}: stages", "there is nothing but teachers", "add a stage that makes one smaller")


def _plan(bench: Bench, pipeline: Pipeline, storage: str, sampler: SamplerName) -> Plan:
    space = space_of(pipeline, bench.tree, bench.where)
    data = bench.images.of(pipeline.data)
    about = {
        "stages": [draft.digest for draft in pipeline.drafts(data)],
        "space": {key: dimension.model_dump() for key, dimension in space.items()},
        "budget": pipeline.budget.limits,
        "target": pipeline.target.model_dump(),
    }
    return Plan(pipeline.name, storage, digest_of(about), space, sampler, pipeline.seed)


def _searched(bench: Bench, plan: Plan, trials: Trials, own: dict[str, Any] | None, wanted: int) -> Front:
    progress = bench.progress
    if own is None:
        progress.note("the file's own values are not all among those to search, so it is not compared with them")
    else:
        trials.begin_with(own)
    progress.stage("the teacher that all trials are compared with", 0, wanted)
    reference = bench.reference()
    Worker(trials, bench, reference, wanted, progress).work()
    progress.stage("the front, measured together", wanted - 1, wanted)
    tried = trials.done()
    first = next((trial.number for trial in tried if trial.values == own and trial.contender), None)
    return front_of(bench.telling(OfTrial(progress, "front")), reference, plan, tried, first)


def _write(folder: Path, front: Front, tree: dict[str, Any], progress: Progress) -> None:
    """Write the record, its page, and the best trial's file, each complete or not at all."""
    texts = {
        FILE: front.model_dump_json(by_alias=True, indent=1) + "\n",
        PAGE: render_search_html(front),
        BEST: best_yaml(tree, front),
    }
    with alone(folder, progress), disk_errors(folder):
        for name, text in texts.items():
            # A name of its own for each worker is not needed: one at a time is here.
            beside = folder / f".{name}"
            beside.write_text(text, encoding="utf-8")
            beside.replace(folder / name)
