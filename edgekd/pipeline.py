"""Pipeline: reads a file, plans, runs what is not up to date, reports."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from edgekd.artifact import Artifact, Store, digest_of, disk_errors
from edgekd.config import Settings, read_yaml, suggest, validate, with_overrides
from edgekd.data import DATASETS, Dataset, DataSettings, load_dataset
from edgekd.errors import ConfigError, DataError, EdgekdError
from edgekd.processes import ALONE, Processes
from edgekd.report.build import Subject, build_report, measure
from edgekd.report.schema import Report
from edgekd.report.verdict import Budget
from edgekd.runtime import Progress, seed_everything
from edgekd.stages import AnyStage, Context, Stage
from edgekd.target import Target
from edgekd.zoo import ModelSpec, build


class Pipeline(Settings):
    """Stages in order, and what they share."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", description="names the folder below exports/")
    seed: int = Field(0, ge=0, lt=2**31, description="of weights, order and augmentation; splits do not depend on it")
    data: DataSettings = Field(DataSettings(), description="which images")
    target: Target = Field(Target(), description="what runs the result")
    stages: list[AnyStage] = Field(min_length=1, description="what is done, in order")
    budget: Budget = Field(Budget(), description="what the shipped file may cost")

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> "Pipeline":
        """Read a pipeline file.

        Args:
            path: the YAML file.
            overrides: ``key.path=value`` each, put in before the check.

        Raises:
            ConfigError: one line per mistake.
        """
        tree = with_overrides(read_yaml(Path(path)), overrides)
        pipeline = validate(cls, tree, str(path))
        pipeline.check(str(path))
        return pipeline

    def check(self, where: str = "pipeline") -> None:
        """Everything that can be known to be wrong before anything runs.

        Raises:
            ConfigError: an id used twice, a reference to a stage that is not before, an unknown dataset or model.
        """
        if self.data.name not in DATASETS:
            raise ConfigError(
                f"{where}: data.name", f"unknown dataset {self.data.name!r}", suggest(self.data.name, sorted(DATASETS))
            )
        for index, stage in enumerate(self.stages):
            place, earlier = f"{where}: stages[{index}]", list(self.stages[:index])
            if stage.name in [other.name for other in earlier]:
                raise ConfigError(
                    f"{place}.id", f"the id {stage.name!r} is used twice", "give each stage an id of its own"
                )
            self._check_references(stage, earlier, place)
            stage.check(place)

    def _check_references(self, stage: Stage, earlier: Sequence[Stage], place: str) -> None:
        names = [other.name for other in earlier]
        if stage.name == "none":
            raise ConfigError(f"{place}.id", "'none' is no name for a stage: it means no teacher", "choose another id")
        for role, name in stage.references(earlier, place).items():
            later = name in [other.name for other in self.stages]
            if name not in names:
                found = f"{name!r} is not an earlier stage" if later else f"there is no stage {name!r}"
                raise ConfigError(
                    f"{place}.{_key(stage, role)}", found, f"earlier stages: {', '.join(names) or 'none'}"
                )
            kind = earlier[names.index(name)].kind
            if kind == "export" or (kind == "qat" and stage.kind != "export"):
                raise ConfigError(
                    f"{place}.{role}",
                    f"{name!r} ({kind}) leaves no float model",
                    "name a teacher, prune or distill stage",
                )

    def plan(self, models: str | Path = "models", progress: Progress | None = None) -> list["Planned"]:
        """Every stage with its digest, and its artifact where that is up to date; nothing is run."""
        progress = progress or Progress()
        return self._plan(Store(Path(models)), load_dataset(self.data, progress), progress)

    def run(
        self,
        models: str | Path = "models",
        exports: str | Path = "exports",
        *,
        force: bool = False,
        progress: Progress | None = None,
        processes: Processes = ALONE,
    ) -> Report | None:
        """Run every stage that is not up to date, then measure and report.

        Args:
            models: folder of the model store.
            exports: folder that receives ``<name>/`` with the ONNX files and the reports.
            force: run stages and measurements that are up to date too.
            progress: told what happens.
            processes: those that train together; the first one does the rest alone.

        Returns:
            The report; None where the pipeline has no export stage, and in all processes but the first.

        Raises:
            EdgekdError: a mistake, told in one line.
        """
        self.check()
        progress = progress or Progress()
        folder = Path(exports) / self.name
        _check_same_target(self.target, processes)
        processes.by_first(lambda: _check_writable(Path(models), Path(exports)))
        data = processes.first_then_others(lambda: load_dataset(self.data, progress))
        _check_same_images(data, processes)
        artifacts: dict[str, Artifact] = {}
        with processes.store_root(Path(models)) as root:
            store = Store(root)
            plan = processes.by_first(lambda: self._checked_plan(store, data, progress, processes))
            for index, planned in enumerate(plan):
                artifacts[planned.name] = self._run_stage(
                    index, planned, artifacts, data, store, force, progress, processes
                )
        if not processes.first:
            return None
        exported = [artifacts[stage.name] for stage in self.stages if stage.kind == "export"]
        if not exported:
            return None
        subject = self._subject(data, artifacts)
        progress.stage("report", len(self.stages), len(self.stages) + 1)
        measured = measure(subject, exported[-1], store, progress, force)
        report = build_report(subject, exported[-1], measured)
        _write_exports(folder, report, exported[-1])
        return report

    def _checked_plan(self, store: Store, data: Dataset, progress: Progress, processes: Processes) -> list["Planned"]:
        plan = self._plan(store, data, progress)
        _check_networks(plan, data)
        for index, item in enumerate(plan):
            if item.stage.trains and item.artifact is None:
                with _placed(index, item.name):
                    images = int(item.stage.recipe_settings()["batch_size"])
                    processes.check_batch(min(images, len(data.train)), "batch_size")
        return plan

    def _plan(self, store: Store, data: Dataset, progress: Progress) -> list["Planned"]:
        fingerprint = data.fingerprint()
        planned: list[Planned] = []
        digests: dict[str, str] = {}
        for index, stage in enumerate(self.stages):
            references = stage.references(list(self.stages[:index]), f"stages[{index}]")
            facts = self._facts(stage, {role: digests[name] for role, name in references.items()}, fingerprint)
            digest = digests[stage.name] = digest_of(facts)
            planned.append(Planned(stage.name, stage, digest, references, store.find(digest), facts))
        return planned

    def _facts(self, stage: Stage, parents: dict[str, str], fingerprint: str) -> dict[str, Any]:
        """What decides a stage's result."""
        target = {"isa": self.target.resolved_isa} if stage.reads_target else {}
        augment = self.data.augment or DATASETS[self.data.name][1]
        return {
            "settings": stage.recipe_settings(),
            "parents": parents,
            "data": {"fingerprint": fingerprint, "augment": augment},
            "seed": self.seed,
            "target": target,
        }

    def _run_stage(
        self,
        index: int,
        planned: "Planned",
        done: dict[str, Artifact],
        data: Dataset,
        store: Store,
        force: bool,
        progress: Progress,
        processes: Processes,
    ) -> Artifact:
        progress.stage(planned.name, index, len(self.stages) + 1)
        if planned.artifact is not None and not force:
            progress.note(f"{planned.name} is up to date")
            return planned.artifact
        seed_everything(self.seed)
        facts = {**planned.facts, "id": planned.name, "stage": planned.stage.kind}
        inputs = {role: done[name] for role, name in planned.references.items()}
        where = f"stages[{index}]"
        ctx = Context(
            where,
            planned.name,
            planned.digest,
            inputs,
            data,
            self.target,
            self.seed,
            store,
            progress,
            facts,
            time.monotonic(),
            processes,
        )
        if force:
            ctx.checkpoints.discard()
        with _placed(index, planned.name):
            if planned.stage.trains:
                return processes.of_first(planned.stage.run(ctx))
            return processes.by_first(lambda: planned.stage.run(ctx))

    def _subject(self, data: Dataset, artifacts: dict[str, Artifact]) -> Subject:
        earlier: list[Stage] = []
        sources: dict[str, str] = {}
        for stage in self.stages:
            references = stage.references(earlier, stage.name)
            if "source" in references:
                sources[stage.name] = references["source"]
            earlier.append(stage)
        stages = {
            stage.name: (stage.kind, stage.model_dump(exclude_none=True), artifacts[stage.name])
            for stage in self.stages
        }
        return Subject(self.name, self.seed, data, self.target, self.budget, stages, sources)


@dataclass(frozen=True)
class Planned:
    """A stage, the digest its artifact has, the stages it reads by role, and the artifact where it is up to date."""

    name: str
    stage: Stage
    digest: str
    references: dict[str, str]
    artifact: Artifact | None
    facts: dict[str, Any]


@contextlib.contextmanager
def _placed(index: int, name: str) -> Iterator[None]:
    """Say in every error which stage it is about."""
    try:
        yield
    except EdgekdError as error:
        if not error.where.startswith("stages["):
            error.where = f"stages[{index}] ({name}): {error.where}"
        raise


def _check_networks(plan: Sequence[Planned], data: Dataset) -> None:
    """What cannot be built, pruned or quantized is refused before the training that would come first."""
    specs: dict[str, ModelSpec] = {}
    trained = {item.name: item.artifact is not None for item in plan}
    for index, item in enumerate(plan):
        source = item.references.get("source")
        spec = item.stage.network(data, specs.get(source) if source else None)
        if spec is None:
            continue
        specs[item.name] = spec
        if item.artifact is None and not (source and trained[source]):
            with _placed(index, item.name):
                item.stage.check_network(build(spec), spec)


def _key(stage: Stage, role: str) -> str:
    """The key under which the file names what a stage reads in a role."""
    return "models" if stage.kind == "export" else role


def _check_writable(*folders: Path) -> None:
    """Say it before the work, not after it."""
    for folder in folders:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()


def _check_same_target(target: Target, processes: Processes) -> None:
    isa = processes.of_first(target.resolved_isa)
    if target.resolved_isa != isa:
        found = f"host is {target.resolved_isa} for process {processes.rank + 1}, {isa} for the first"
        raise ConfigError("target.isa", found, "declare one")


def _check_same_images(data: Dataset, processes: Processes) -> None:
    if processes.size > 1 and data.fingerprint() != processes.of_first(data.fingerprint()):
        found = f"process {processes.rank + 1} reads other images than the first"
        raise DataError("data", found, "give every machine the same files")


def _write_exports(folder: Path, report: Report, exported: Artifact) -> None:
    """Fill ``exports/<name>/`` beside and rename it into place: it is whole or absent."""
    from edgekd.report.html import render_html

    with disk_errors(folder):
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for about in exported.manifest["exported"]:
                if about["role"] == "model":
                    shutil.copy2(exported.folder / about["file"], beside / about["file"])
            (beside / "report.json").write_text(
                report.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8"
            )
            (beside / "report.html").write_text(render_html(report), encoding="utf-8")
            beside.chmod(0o755)
            _swap(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _swap(beside: Path, folder: Path) -> None:
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        folder.rename(aside / "old")
        beside.rename(folder)
        shutil.rmtree(aside)
    else:
        beside.rename(folder)
