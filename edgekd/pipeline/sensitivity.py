"""What each group of channels is worth: cut alone, at several shares, without any training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgekd.config.progress import Progress
from edgekd.config.target import round_width
from edgekd.data import Dataset, load_dataset, spread_batches
from edgekd.errors import ConfigError
from edgekd.pipeline.pipeline import Pipeline
from edgekd.stages import Prune
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.training.evaluation import estimate_batchnorm, evaluate
from edgekd.zoo import count_macs

SHARES = (0.25, 0.5, 0.75)
IMAGES = 512
"""That set the batch norms after each cut."""


@dataclass(frozen=True)
class GroupLoss:
    """One group of channels, cut alone.

    Args:
        layers: that share the channels.
        channels: before.
        kept_because: why it cannot be cut; empty if it can.
        drop: by share, accuracy on val lost, 0..1; a share that the target's kernels leave no width for is missing.
        macs: by share, MACs saved, of the network's.
    """

    layers: tuple[str, ...]
    channels: int
    kept_because: str
    drop: Mapping[float, float]
    macs: Mapping[float, float]


def group_losses(pipeline: Pipeline, models: Path, progress: Progress) -> list[GroupLoss]:
    """Cut each group of the first prune stage's network alone, and ask the rest about val.

    Args:
        pipeline: with a prune stage whose source is trained.
        models: the model store.
        progress: is told of every cut.

    Raises:
        ConfigError: no prune stage, or its source is not trained yet.
        PruningError: the network cannot be pruned.
    """
    stage, model, made = _source(pipeline, models)
    data = load_dataset(pipeline.data, progress)
    return _cut_one_by_one(stage, model, made, data, pipeline, progress)


def _source(pipeline: Pipeline, models: Path) -> tuple[Prune, nn.Module, FloatModel]:
    planned = {item.name: item for item in pipeline.plan(models)}
    found = next(((i, item) for i, item in enumerate(planned.values()) if isinstance(item.stage, Prune)), None)
    if found is None:
        raise ConfigError("stages", "there is no prune stage", "add {stage: prune, pruning_ratio: 0.5}")
    index, item = found
    artifact = planned[item.references["source"]].artifact
    if artifact is None:
        where, source = f"stages[{index}] ({item.name}).source", item.references["source"]
        raise ConfigError(where, f"{source!r} is not trained yet", "run the pipeline up to it first")
    made, stage = manifest_of(artifact, FloatModel), item.stage
    assert isinstance(stage, Prune)
    return stage, made.load(artifact), made


def _cut_one_by_one(
    stage: Prune, model: nn.Module, made: FloatModel, data: Dataset, pipeline: Pipeline, progress: Progress
) -> list[GroupLoss]:
    from edgekd.pruning.scores import accumulate_gradients
    from edgekd.pruning.structure import structure_of

    spec, isa = made.model.spec, pipeline.target.resolved_isa
    if images := stage.importance.gradient_images:
        accumulate_gradients(model, spread_batches(data.train, images, 64))
    structure = structure_of(model, spec, stage.importance)
    # Cut networks get batch norms of so many images: what is cut is held against a copy that got them too.
    same = structure.proved([group.channels for group in structure.groups])
    estimate_batchnorm(same, data.seen, IMAGES)
    before, macs = evaluate(same, data.val).accuracy, count_macs(model, spec)
    whole, found = [group.channels for group in structure.groups], []
    for index, group in enumerate(structure.groups):
        drop, saved = {}, {}
        for share in SHARES:
            kept = round_width(group.channels * (1 - share), group.channels, isa)
            if group.kept_because or kept == group.channels:
                continue
            smaller = structure.proved([*whole[:index], kept, *whole[index + 1 :]])
            estimate_batchnorm(smaller, data.seen, IMAGES)
            drop[share] = before - evaluate(smaller, data.val).accuracy
            saved[share] = 1 - count_macs(smaller, spec) / macs
        found.append(GroupLoss(group.layers, group.channels, group.kept_because, drop, saved))
        progress.work("sensitivity", index + 1, len(structure.groups))
    return found
