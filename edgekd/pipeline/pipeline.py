"""Pipeline: reads a file, plans, runs what is not up to date, and reports."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from edgekd.bundle.alone import alone
from edgekd.config import Settings, read_yaml, validate, with_overrides
from edgekd.config.functions import source_digest
from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import AUGMENT_VERSION, AnyData, Dataset, Digits, Function, load_dataset
from edgekd.errors import ConfigError
from edgekd.pipeline.checks import check_name_of_stage, check_same_images, check_same_target, check_writable, checked
from edgekd.pipeline.planned import Planned, Run, looked_up, placed
from edgekd.pipeline.search.space import Space, check_space
from edgekd.pipeline.shipping import ship
from edgekd.report.build import build_report
from edgekd.report.fitting import Budget
from edgekd.report.schema import Report
from edgekd.report.subject import Done, Measured, Subject, measure
from edgekd.stages import AnyStage, Context, Stage, kinds_that_leave
from edgekd.stages.assistants import with_assistants
from edgekd.stages.manifests import ExportedFiles, Facts
from edgekd.store.artifacts import Artifact, Store, digest_of
from edgekd.training.environment import seed_everything
from edgekd.training.parallel import ALONE, Processes
from edgekd.zoo import ModelSpec

_PLACES = ("root", "unlabelled", "download", "cache", "cache_gb")
"""Data settings that say where files are on this machine, and not what they are."""


class Pipeline(Settings):
    """Stages in order, and the settings that they share."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", description="names the folder below exports/")
    seed: int = Field(0, ge=0, lt=2**31, description="of weights, order and augmentation; splits do not depend on it")
    data: AnyData = Field(Digits(), description="which images")
    target: Target = Field(Target(), description="what runs the result")
    stages: list[AnyStage] = Field(min_length=1, description="what is done, in order")
    budget: Budget = Field(Budget(), description="what the shipped file may cost")
    search: Space | None = None

    @field_validator("stages")
    @classmethod
    def _assistants_have_stages_of_their_own(cls, stages: list[Stage]) -> list[Stage]:
        return with_assistants(stages)

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Iterable[str] = ()) -> "Pipeline":
        """Read a pipeline file.

        Args:
            path: the YAML file.
            overrides: ``key.path=value`` each, applied before validation.

        Raises:
            ConfigError: one line per mistake.
        """
        return cls.from_tree(with_overrides(read_yaml(Path(path)), overrides), str(path))

    @classmethod
    def from_tree(cls, tree: dict[str, Any], where: str) -> "Pipeline":
        """The pipeline of a file's content; ``where`` names the file in errors.

        Raises:
            ConfigError: one line per mistake.
        """
        pipeline = validate(cls, tree, where)
        pipeline.check(where)
        if pipeline.search:
            check_space(pipeline.search, tree, where, lambda tried: cls.from_tree(tried, where))
        return pipeline

    def check(self, where: str = "pipeline") -> None:
        """Check everything that can be checked without data.

        Raises:
            ConfigError: an id used twice, a reference to a stage that does not come earlier, an unknown model.
        """
        for index, stage in enumerate(self.stages):
            place, earlier = f"{where}: stages[{index}]", list(self.stages[:index])
            check_name_of_stage(stage.name, [other.name for other in earlier], f"{place}.id")
            self._check_references(stage, earlier, place)
            stage.check(place)

    def _check_references(self, stage: Stage, earlier: Sequence[Stage], place: str) -> None:
        names = [other.name for other in earlier]
        for role, name in stage.references(earlier, place).items():
            later = name in [other.name for other in self.stages]
            if name not in names:
                found = f"{name!r} is not an earlier stage" if later else f"there is no stage {name!r}"
                raise ConfigError(
                    f"{place}.{stage.key_of(role)}", found, f"earlier stages: {', '.join(names) or 'none'}"
                )
            source, wanted = earlier[names.index(name)], stage.reads[stage.key_of(role)]
            if not issubclass(source.leaves, wanted):
                found = f"{name!r} ({source.kind}) leaves no {wanted.noun}"
                remedy = f"name a stage that does: {', '.join(kinds_that_leave(wanted))}"
                raise ConfigError(f"{place}.{stage.key_of(role)}", found, remedy)

    def plan(self, models: str | Path = "models", progress: Progress | None = None) -> list[Planned]:
        """Every stage with its digest, and its artifact if that is up to date; nothing is run."""
        progress = progress or Progress()
        return looked_up(self.drafts(load_dataset(self.data, progress)), Store(Path(models)))

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
            force: also run stages and measurements that are up to date.
            progress: informed about what happens.
            processes: that train together; the first one does everything else.

        Returns:
            The report; None without an export stage, and in all processes but the first.

        Raises:
            EdgekdError: a mistake, reported in one line.
        """
        # A pipeline that was built in Python has not been checked yet.
        self.check()
        progress = progress or Progress()
        folder = Path(exports) / self.name
        check_same_target(self.target, processes)
        processes.by_first(lambda: check_writable(Path(models), Path(exports)))
        data = processes.first_then_others(lambda: load_dataset(self.data, progress))
        check_same_images(data, processes)
        with self.outcome(models, data, force=force, progress=progress, processes=processes) as found:
            if found is None:
                return None
            report = build_report(found.subject, found.exported, found.measured)
            # Locked only while writing: other runs of this pipeline need not wait for the measurement.
            with alone(folder, progress):
                ship(folder, report, found.exported, found.measured, data, self.data.resize_rule)
            return report

    @contextlib.contextmanager
    def outcome(
        self,
        models: str | Path,
        data: Dataset,
        *,
        force: bool = False,
        progress: Progress | None = None,
        processes: Processes = ALONE,
        waits: bool = True,
    ) -> Iterator["Outcome | None"]:
        """Run every stage that is not up to date, and measure; nothing is shipped.

        Args:
            models: folder of the model store.
            data: the images that ``data`` names.
            force: also run stages and measurements that are up to date.
            progress: informed about what happens.
            processes: that train together.
            waits: for stages that other processes are making; unless true, BusyError is raised for the first of them.

        Yields:
            What was measured, which is not collected meanwhile; None without an export stage, and in all processes but
            the first.

        Raises:
            EdgekdError: a mistake, reported in one line.
        """
        progress = progress or Progress()
        with self.made(models, data, force=force, progress=progress, processes=processes, waits=waits) as made:
            if made is None or made.exported is None:
                yield None
                return
            progress.stage("report", len(self.stages), len(self.stages) + 1)
            measured = measure(made.subject, made.exported, Store(Path(models)), progress, force)
            yield Outcome(made.subject, made.exported, measured)

    @contextlib.contextmanager
    def made(
        self,
        models: str | Path,
        data: Dataset,
        *,
        force: bool = False,
        progress: Progress | None = None,
        processes: Processes = ALONE,
        waits: bool = True,
    ) -> Iterator["Made | None"]:
        """Run every stage that is not up to date; nothing is measured. Takes and raises what ``outcome`` does.

        Yields:
            What the stages made, which is not collected meanwhile; None in all processes but the first.
        """
        drafts = self.drafts(data)
        with processes.store_root(Path(models)) as root:
            run = Run(data, Store(root), force, progress or Progress(), processes, waits)
            # Before anything is looked up: an artifact that was found must not be collected while the run needs it.
            with run.store.in_use(draft.digest for draft in drafts):
                yield self._run_planned(drafts, run)

    def _run_planned(self, drafts: list[Planned], run: Run) -> "Made | None":
        data, store = run.data, run.store
        plan = run.processes.by_first(lambda: checked(looked_up(drafts, store), data, self.target, run.processes))
        artifacts: dict[str, Artifact] = {}
        for index, planned in enumerate(plan):
            artifacts[planned.name] = self._run_stage(index, planned, artifacts, run)
        if not run.processes.first:
            return None
        exported = [artifacts[stage.name] for stage in self.stages if issubclass(stage.leaves, ExportedFiles)]
        return Made(self._subject(data, artifacts), exported[-1] if exported else None)

    def drafts(self, data: Dataset) -> list[Planned]:
        """Every stage with its digest, without looking into the store."""
        planned: list[Planned] = []
        digests: dict[str, str] = {}
        specs: dict[str, ModelSpec | None] = {}
        # Each computed once: it reads every pixel.
        seen = {id(found): found for stage in self.stages if (found := stage.sees(data))}
        fingerprints = {number: found.fingerprint() for number, found in seen.items()}
        for index, stage in enumerate(self.stages):
            references = stage.references(list(self.stages[:index]), f"stages[{index}]")
            parents = {role: digests[name] for role, name in references.items()}
            facts = self._facts(stage, parents, fingerprints[id(stage.sees(data))])
            digest = digests[stage.name] = digest_of(facts)
            spec = specs[stage.name] = stage.network(data, specs.get(references.get("source", "")))
            planned.append(Planned(stage.name, stage, digest, references, None, facts, spec))
        return planned

    def _facts(self, stage: Stage, parents: dict[str, str], fingerprint: str) -> dict[str, Any]:
        """Everything that decides a stage's result: the content of its digest."""
        # Only for stages that read it: another target must not train the teacher again.
        target = {"isa": self.target.resolved_isa} if stage.reads_target else {}
        return {
            "settings": stage.deciding_settings(),
            "version": stage.VERSION,
            "parents": parents,
            "data": self._data_facts(fingerprint),
            "seed": self.seed,
            "target": target,
        }

    def _data_facts(self, fingerprint: str) -> dict[str, Any]:
        source = {"source": source_digest(self.data.function)} if isinstance(self.data, Function) else {}
        # Left out where it is false, so that artifacts from before the setting existed are still found.
        balance = {"balance": True} if self.data.balance else {}
        augment = {"augment": self.data.augment_name, "version": AUGMENT_VERSION}
        return {"fingerprint": fingerprint, **augment, **balance, **source}

    def _run_stage(self, index: int, planned: Planned, done: dict[str, Artifact], run: Run) -> Artifact:
        run.progress.stage(planned.name, index, len(self.stages) + 1)
        if planned.artifact is not None and not run.force:
            run.progress.note(f"{planned.name} is up to date")
            return planned.artifact
        with contextlib.ExitStack() as claim, placed(index, planned.name):
            claimed = run.store.claimed(planned.digest, run.progress.note, waits=run.waits)
            # Only the first process takes the lock, for all of them: the others would wait for it forever.
            found = run.processes.by_first(lambda: claim.enter_context(claimed))
            # Another run may have made it while this one waited for the lock.
            if found is not None and not run.force:
                run.progress.note(f"{planned.name} is up to date")
                return found
            return self._made(index, planned, done, run)

    def _made(self, index: int, planned: Planned, done: dict[str, Artifact], run: Run) -> Artifact:
        # Seeded anew for each stage: its result must not depend on which earlier stages were up to date.
        seed_everything(self.seed)
        facts = Facts(**planned.facts, id=planned.name, stage=planned.stage.kind)
        inputs = {role: done[name] for role, name in planned.references.items()}
        where = f"stages[{index}]"
        ctx = Context(
            where,
            planned.name,
            planned.digest,
            inputs,
            planned.stage.sees(run.data),
            self.target,
            self.seed,
            run.store,
            run.progress,
            facts,
            time.monotonic(),
            run.processes,
        )
        if run.force:
            # The digest is unchanged, so training would otherwise resume from the old checkpoints.
            ctx.checkpoints.discard()
        if planned.stage.trains:
            # The first process's artifact: the others wrote theirs into scratch folders.
            return run.processes.of_first(planned.stage.run(ctx))
        return run.processes.by_first(lambda: planned.stage.run(ctx))

    def _subject(self, data: Dataset, artifacts: dict[str, Artifact]) -> Subject:
        earlier: list[Stage] = []
        sources: dict[str, str] = {}
        for stage in self.stages:
            references = stage.references(earlier, stage.name)
            if "source" in references:
                sources[stage.name] = references["source"]
            earlier.append(stage)
        stages = {
            stage.name: Done(stage.kind, stage.model_dump(exclude_none=True), artifacts[stage.name])
            for stage in self.stages
        }
        return Subject(self.name, self.seed, data, self.target, self.budget, stages, sources, self._data_settings())

    def _data_settings(self) -> dict[str, Any]:
        """The data settings for the report, without paths."""
        # Reports from before the setting existed lack it, and must not seem to differ from new ones.
        unsaid = {key for key, usual in (("balance", False), ("labelled", 1.0)) if getattr(self.data, key) == usual}
        settings = self.data.model_dump(
            exclude_none=True, exclude={"root", "unlabelled", "download", "cache", "cache_gb", *unsaid}
        )
        return {**settings, "augment": self.data.augment_name}


@dataclass(frozen=True)
class Made:
    """A pipeline that has run, and its exported files if it has any."""

    subject: Subject
    exported: Artifact | None


@dataclass(frozen=True)
class Outcome:
    """A pipeline that has run, its exported files, and what was measured on them."""

    subject: Subject
    exported: Artifact
    measured: Measured
