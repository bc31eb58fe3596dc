"""What a search varies where the file has no ``search:``: what is known to matter, as far as the file has it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgekd.errors import ConfigError
from edgekd.pipeline.pipeline import Pipeline
from edgekd.pipeline.search.space import Choice, Dimension, Numbers, Values, value_of, with_values
from edgekd.stages import Distill, Prune, Ptq, Qat, Stage
from edgekd.stages.qat import FEW_BITS_DEFAULTS

LEAST_PRUNED = 0.3
LR_FACTOR = 4.0
"""Learning rates are tried up to so many times the file's, and down to as small a part of it."""


def space_of(pipeline: Pipeline, tree: dict[str, Any], where: str) -> Mapping[str, Dimension]:
    """The file's own space; unless it has one, what its stages suggest.

    Raises:
        ConfigError: they suggest nothing.
    """
    if pipeline.search:
        return pipeline.search
    check = lambda tried: Pipeline.from_tree(tried, where)  # noqa: E731
    found = dict(_valid(_suggested(pipeline), tree, check))
    if not found:
        raise ConfigError(
            f"{where}: search", "is missing, and no stage suggests one", "write e.g. search: {STAGE.lr: [0.01, 0.1]}"
        )
    return found


def _suggested(pipeline: Pipeline) -> Iterator[tuple[str, Dimension]]:
    for stage in pipeline.stages:
        for setting, dimension in _of_stage(stage):
            yield f"{stage.name}.{setting}", dimension


def _of_stage(stage: Stage) -> Iterator[tuple[str, Dimension]]:
    match stage:
        case Prune():
            yield "pruning_ratio", Numbers(low=LEAST_PRUNED, high=stage.max_pruning_ratio)
            yield "macs_ratio", Numbers(low=0.05, high=0.6)
        case Distill():
            yield "loss", Choice(any=_with_own(stage.loss.model_dump(), ["kd", "dkd", "dist"]))
            yield "temperature", Numbers(low=1, high=8)
            yield "lr", _around(stage.lr)
        case Qat():
            yield "weight_bits", Choice(any=_with_own(stage.weight_bits, [None, 4]))
            # Few bits are among them, and want more.
            yield "lr", _around(stage.lr, FEW_BITS_DEFAULTS["lr"])
        case Ptq():
            yield "weight_bits", Choice(any=_with_own(stage.weight_bits, [None, 4]))


def _with_own(own: Any, others: list[Any]) -> list[Any]:
    return [own, *(other for other in others if other != own)]


def _around(lr: float, too: float = 0.0) -> Numbers:
    low, high = (float(f"{rate:.2g}") for rate in (lr / LR_FACTOR, max(min(lr * LR_FACTOR, 1.0), too)))
    return Numbers(low=low, high=high, log=True)


def _valid(
    suggested: Iterator[tuple[str, Dimension]], tree: dict[str, Any], check: Callable[[dict[str, Any]], object]
) -> Iterator[tuple[str, Dimension]]:
    """What the file takes: another of its settings may leave a suggested one, or one of its values, without effect."""
    for key, dimension in suggested:
        if isinstance(dimension, Choice):
            taken = [value for value in dimension.any if _takes({key: value}, tree, check)]
            if len(taken) > 1:
                yield key, Choice(any=taken)
        elif all(_takes({key: value}, tree, check) for value in dimension.extremes):
            yield key, dimension


def _takes(values: Values, tree: dict[str, Any], check: Callable[[dict[str, Any]], object]) -> bool:
    try:
        check(with_values(tree, values))
    except ConfigError:
        return False
    return True


def own_values(pipeline: Pipeline, space: Mapping[str, Dimension]) -> dict[str, Any] | None:
    """The file's own values, defaults among them; None where one of them is not in the space."""
    plain = pipeline.model_dump()
    values = {key: value_of(key, plain) for key in space}
    return values if all(space[key].holds(value) for key, value in values.items()) else None
