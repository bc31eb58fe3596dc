"""The part of a pipeline that an ablation runs: the stage whose file is compared, and what that is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from edgekd.config import validate
from edgekd.errors import ConfigError
from edgekd.pipeline.pipeline import Pipeline
from edgekd.stages import Stage
from edgekd.stages.manifests import IntegerModel, ModelManifest

Tree: TypeAlias = dict[str, Any]
"""A stage, as a pipeline file would say it."""


@dataclass(frozen=True)
class Chain:
    """A pipeline of nothing else than one model and what it is made from; without export, each source named.

    Args:
        compared: id of the stage whose file is compared.
        reference: id of the teacher stage against which sizes and latencies are measured.
    """

    pipeline: Pipeline
    compared: str
    reference: str

    @property
    def stages(self) -> Sequence[Stage]:
        return self.pipeline.stages

    @cached_property
    def references(self) -> Mapping[str, Mapping[str, str]]:
        """Stage -> the stages that it reads, by role."""
        return _references(self.pipeline)

    @cached_property
    def path(self) -> list[Stage]:
        """How the compared model came to be: the network that was built first, then what was made from it in turn."""
        stages, name = {stage.name: stage for stage in self.stages}, self.compared
        found = [stages[name]]
        while "source" in self.references[name]:
            name = self.references[name]["source"]
            found.insert(0, stages[name])
        return found

    @property
    def taught(self) -> list[Stage]:
        """Those on the path that have a teacher."""
        return [stage for stage in self.path if set(self.references[stage.name]) - {"source"}]

    def with_stages(self, trees: Sequence[Tree], where: str) -> "Chain":
        """The same with other stages; those that the compared one no longer needs are left out.

        Raises:
            ConfigError: they make no valid pipeline.
        """
        return self.of(_pipeline(self.pipeline, trees, where), where)

    def of(self, pipeline: Pipeline, where: str) -> "Chain":
        """The chain of another pipeline's stage of the same name, measured against the same teacher.

        Raises:
            ConfigError: it has no such stage, or that leaves no model.
        """
        _check_leaves_a_model(self.compared, pipeline.stages, where)
        return _trimmed(pipeline, self.compared, self.reference)

    def exporting(self, seed: int, *, path: bool) -> Pipeline:
        """The pipeline with a seed, and with an export of the compared file and the reference's.

        Args:
            seed: in place of the file's.
            path: export the files between them too.
        """
        ids, wanted = [stage.name for stage in self.stages], {self.reference, self.compared}
        wanted |= {stage.name for stage in self.path} if path else set()
        unused = next(name for name in _EXPORTS if name not in ids)
        export = {"stage": "export", "id": unused, "models": [name for name in ids if name in wanted]}
        trees = [*map(tree_of, self.stages), export]
        return _pipeline(self.pipeline, trees, "ablation").model_copy(update={"seed": seed})


_EXPORTS = ("export", "exported", "all-exported")
"""Ids of the export stage: the usual one, unless a file names another stage so."""


def chain_of(pipeline: Pipeline, compared: str | None) -> Chain:
    """The chain of a pipeline's integer model.

    Args:
        pipeline: checked.
        compared: another stage's id; None: the first stage that leaves integers, else the last one that leaves a model.

    Raises:
        ConfigError: no stage of that name leaves a model, or none of what it is made from is a teacher stage.
    """
    name = compared or _end(pipeline.stages)
    _check_leaves_a_model(name, pipeline.stages, "--file")
    needed = _needed(_references(pipeline), [name])
    reference = next(
        (stage.name for stage in pipeline.stages if stage.name in needed and stage.kind == "teacher"), None
    )
    if reference is None:
        problem = f"{name} is made without a teacher stage, against which sizes and latencies are measured"
        raise ConfigError("stages", problem, "begin with one")
    return _trimmed(pipeline, name, reference)


def tree_of(stage: Stage) -> Tree:
    """A stage as a file would say it: only what was given."""
    return {"stage": stage.kind, **stage.model_dump(exclude_unset=True, exclude_none=True)}


def _end(stages: Sequence[Stage]) -> str:
    integers = [stage.name for stage in stages if issubclass(stage.leaves, IntegerModel)]
    models = [stage.name for stage in stages if issubclass(stage.leaves, ModelManifest)]
    return [*integers[:1], *reversed(models), ""][0]


def _check_leaves_a_model(name: str, stages: Sequence[Stage], where: str) -> None:
    known = [stage.name for stage in stages if issubclass(stage.leaves, ModelManifest)]
    if name not in known:
        raise ConfigError(where, f"no stage {name!r} leaves a model", f"stages that do: {', '.join(known) or 'none'}")


def _references(pipeline: Pipeline) -> dict[str, dict[str, str]]:
    stages = pipeline.stages
    return {stage.name: stage.references(stages[:index], f"stages[{index}]") for index, stage in enumerate(stages)}


def _needed(references: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> set[str]:
    found, more = set[str](), [*names]
    while more:
        name = more.pop()
        if name not in found:
            found.add(name)
            more += references[name].values()
    return found


def _trimmed(pipeline: Pipeline, compared: str, reference: str) -> Chain:
    references = _references(pipeline)
    needed = _needed(references, [compared, reference])
    # Without the stages between them, one that names no source would read another than before.
    named = [{**tree_of(stage), **_source(references[stage.name])} for stage in pipeline.stages if stage.name in needed]
    return Chain(_pipeline(pipeline, named, "ablation"), compared, reference)


def _source(references: Mapping[str, str]) -> Tree:
    return {"source": references["source"]} if "source" in references else {}


def _pipeline(like: Pipeline, trees: Sequence[Tree], where: str) -> Pipeline:
    """A pipeline of other stages over the same images; nobody asks for a budget."""
    shared = {"name": like.name, "seed": like.seed, "data": like.data, "target": like.target}
    pipeline = validate(Pipeline, {**shared, "stages": [*trees]}, where)
    pipeline.check(where)
    return pipeline
