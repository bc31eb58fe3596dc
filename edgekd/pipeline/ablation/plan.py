"""The runs of an ablation: every arm with every seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekd.config import read_yaml, with_overrides
from edgekd.config.progress import Progress
from edgekd.data import Dataset, batches_per_epoch, load_dataset
from edgekd.errors import ConfigError
from edgekd.pipeline.ablation.arms import Arm, arms_of, own_arm
from edgekd.pipeline.ablation.chain import Chain, chain_of
from edgekd.pipeline.pipeline import Pipeline
from edgekd.pipeline.planned import Planned
from edgekd.report.ablation.schema import BASE
from edgekd.report.subject import measurement_digest


@dataclass(frozen=True)
class Wanted:
    """What a user asks an ablation for.

    Args:
        seeds: how many, from the file's seed on.
        arms: names of edgekd's arms; None: all that apply.
        own: arms of the user's, see ``own_arm``.
        compared: id of the stage whose file is compared; None: see ``chain_of``.
    """

    seeds: int = 3
    arms: Sequence[str] | None = None
    own: Sequence[str] = ()
    compared: str | None = None


@dataclass(frozen=True)
class Run:
    """An arm with a seed.

    Args:
        drafts: its stages with their digests.
    """

    arm: str
    seed: int
    pipeline: Pipeline
    data: Dataset = field(repr=False)
    drafts: Sequence[Planned] = field(repr=False)

    @property
    def label(self) -> str:
        return f"seed {self.seed}, arm {self.arm}"

    @property
    def digests(self) -> list[str]:
        """Of its stages, in order; the export is the last."""
        return [draft.digest for draft in self.drafts]

    @property
    def artifacts(self) -> list[str]:
        """Digests of all that it leaves in the store: its stages, and what this machine measured."""
        return [*self.digests, measurement_digest(self.digests[-1], self.pipeline.target)]


@dataclass(frozen=True)
class Plan:
    """An ablation that could be run.

    Args:
        base: the chain of the file itself.
        arms: those that differ from it and from one another, also those that cannot be run.
        runs: seed by seed, so that what is done early can be compared.
    """

    base: Chain
    arms: Sequence[Arm]
    seeds: Sequence[int]
    runs: Sequence[Run]


def planned(file: Path, overrides: Iterable[str], wanted: Wanted, progress: Progress | None = None) -> Plan:
    """What an ablation of a pipeline file would run.

    Args:
        file: the pipeline file.
        overrides: ``key.path=value`` each, of the file and so of every arm.
        wanted: see there.
        progress: informed while images are read.

    Raises:
        ConfigError: a mistake in the file or in what is wanted.
        DataError: the images cannot be read.
    """
    overrides, progress = [*overrides], progress or Progress()
    tree = with_overrides(read_yaml(file), overrides)
    pipeline = Pipeline.from_yaml(file, overrides)
    base = chain_of(pipeline, wanted.compared)
    arms = [*arms_of(base, wanted.arms), *(own_arm(text, tree, base) for text in wanted.own)]
    seeds = range(pipeline.seed, pipeline.seed + wanted.seeds)
    data = load_dataset(pipeline.data, progress)
    images = {arm.name: _images(arm, base, data, progress) for arm in arms}
    arms = _distinct([_same_images(arm, data, images[arm.name]) for arm in arms], base, images, data)
    chains = {BASE: base, **{arm.name: arm.chain for arm in arms if arm.chain is not None}}
    runs = [_run(name, chain, seed, images.get(name, data)) for seed in seeds for name, chain in chains.items()]
    return Plan(base, arms, [*seeds], runs)


def steps_of(chain: Chain, data: Dataset) -> int:
    """Training steps of the compared model in all stages that made it; not a teacher's, nor those of searches."""
    students = [stage for stage in chain.path if stage.trains and stage.kind != "teacher"]
    settings = [stage.deciding_settings() for stage in students]
    return sum(each["epochs"] * batches_per_epoch(data, each["batch_size"]) for each in settings)


def _images(arm: Arm, base: Chain, data: Dataset, progress: Progress) -> Dataset:
    if arm.chain is None or arm.chain.pipeline.data == base.pipeline.data:
        return data
    return load_dataset(arm.chain.pipeline.data, progress)


def _same_images(arm: Arm, data: Dataset, images: Dataset) -> Arm:
    if images.fingerprint() == data.fingerprint():
        return arm
    return replace(arm, chain=None, error="it sees other images than the file, with which it cannot be compared")


def _distinct(arms: Sequence[Arm], base: Chain, images: Mapping[str, Dataset], data: Dataset) -> list[Arm]:
    """The arms that make another file than the ones before; of a user's, who wants to know, another one is refused."""
    made, found = {_decides(base, data): BASE}, list[Arm]()
    for arm in arms:
        same = made.setdefault(_decides(arm.chain, images[arm.name]), arm.name) if arm.chain else arm.name
        if same == arm.name:
            found.append(arm)
        elif arm.own:
            raise ConfigError(f"--arm {arm.name!r}", f"makes the same file as {same}", "leave it out")
    return found


def _decides(chain: Chain, data: Dataset) -> str:
    pipeline = chain.pipeline
    made = next(draft.digest for draft in pipeline.drafts(data) if draft.name == chain.compared)
    return f"{made} {pipeline.target.model_dump_json()}"


def _run(name: str, chain: Chain, seed: int, data: Dataset) -> Run:
    pipeline = chain.exporting(seed, path=name == BASE)
    return Run(name, seed, pipeline, data, pipeline.drafts(data))
