"""Pruning: whole channels go, to widths that the target's kernels like."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from edgekd.config import SettingError
from edgekd.config.target import Target
from edgekd.data import Dataset, spread_batches
from edgekd.errors import ConfigError
from edgekd.ondevice.machine import cpu_name, host_isa
from edgekd.pruning.criteria import L2, AnyImportance
from edgekd.stages.base import Context, Stage, StageId, source_or_before
from edgekd.stages.budget_plan import Limit, check_reachable, widths_within
from edgekd.stages.manifests import FloatModel, LayerWidth, Pruning, StageManifest
from edgekd.store.artifacts import Artifact
from edgekd.store.disk import disk_errors
from edgekd.training.environment import environment
from edgekd.training.evaluation import estimate_batchnorm, evaluate
from edgekd.zoo import ModelSpec

if TYPE_CHECKING:
    from edgekd.pruning.group import Group
    from edgekd.pruning.prune import Pruned


LIMITS = ("latency_ratio", "latency_ms", "size_kb")
"""What may be given of the file instead of the network."""
MEASURES = ("pruning_ratio", "macs_ratio", *LIMITS)


class Prune(Stage):
    """Remove channels from a copy of a model; nothing is trained, batch-norm statistics are re-estimated."""

    VERSION: ClassVar[int] = 2
    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"source": FloatModel}
    leaves: ClassVar[type[StageManifest]] = FloatModel
    reads_target: ClassVar[bool] = True
    LATER: ClassVar[tuple[str, ...]] = LIMITS

    stage: Literal["prune"] = "prune"
    source: StageId | None = Field(None, description="the stage whose model is pruned; the stage before unless given")
    pruning_ratio: float | None = Field(
        None, gt=0, lt=1, description="share of channels to remove; or one of the next four"
    )
    macs_ratio: float | None = Field(None, gt=0, lt=1, description="share of MACs to keep")
    latency_ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="p50 of the integer file divided by that of the float file before pruning; measured on this "
        "machine, which the target must be",
    )
    latency_ms: float | None = Field(
        None, gt=0, description="p50 of the integer file, in milliseconds; as latency_ratio"
    )
    size_kb: float | None = Field(None, gt=0, description="size of the int8 file, in 1,000 bytes")
    importance: AnyImportance = Field(
        L2(), description="what makes a channel worth keeping: l2, taylor or bn, or {name: taylor, images: 2048}"
    )
    scope: Literal["global", "layer"] = Field(
        "layer", description="rank alike groups together, or prune every layer alike"
    )
    max_pruning_ratio: float = Field(0.8, gt=0, lt=1, description="largest share that any layer loses")

    @model_validator(mode="after")
    def _makes_sense(self) -> "Prune":
        given = [key for key in MEASURES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(MEASURES)}; found {' and '.join(given) or 'none'}")
        if self.pruning_ratio is not None and self.pruning_ratio > self.max_pruning_ratio:
            found = f"is {self.pruning_ratio:g}, but no layer may lose more than max_pruning_ratio"
            raise SettingError("pruning_ratio", f"{found} ({self.max_pruning_ratio:g}); lower it, or raise that")
        return self

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        return {"source": source_or_before(self.source, earlier, where)}

    def check_data(self, data: Dataset, where: str) -> None:
        if self.importance.gradient_images and not len(data.train):
            problem = f"{self.importance.name} reads labels, and no training image has one"
            raise ConfigError(f"{where}.importance", problem, "take l2 or bn")

    @property
    def unread(self) -> dict[str, str]:
        return {} if self._limit is None else {"scope": "widths follow from what they cost"}

    @property
    def knows_widths(self) -> bool:
        return self._limit is None and self.scope == "layer"

    @property
    def _limit(self) -> Limit | None:
        """What the file may cost, where that is given."""
        found = [(key, value) for key in LIMITS if (value := getattr(self, key)) is not None]
        return Limit(*found[0]) if found else None

    def deciding_settings(self) -> dict[str, Any]:
        settings = super().deciding_settings()
        if self._limit is None or self._limit.is_size:
            return settings
        return {**settings, "measured on": {"cpu": cpu_name(), "onnxruntime": environment()["onnxruntime"]}}

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        from edgekd.pruning.prune import check_prunable, groups_of

        if self._limit is not None:
            _check_here(self._limit, target)
            check_reachable(model, spec, groups_of(model, spec), self._limit, self.max_pruning_ratio, target)
            return model
        return check_prunable(model, spec, self.pruning_ratio, self.macs_ratio, **self._policy(target))

    def run(self, ctx: Context) -> Artifact:
        from edgekd.pruning.scores import accumulate_gradients

        model, spec = ctx.load("source")
        if images := self.importance.gradient_images:
            accumulate_gradients(model, spread_batches(ctx.data.train, images, 64))
        pruned = self._pruned(model, spec, ctx)
        ctx.progress.note(_summary(pruned))
        estimate_batchnorm(pruned.model, ctx.data.seen, images=1024)
        accuracy = evaluate(pruned.model, ctx.data.val).accuracy
        done = Pruning(
            widths=[LayerWidth(**asdict(width)) for width in pruned.widths],
            macs=pruned.macs,
            params=pruned.params,
            pruning_ratio=pruned.pruning_ratio,
        )
        written = lambda folder: _write_channels(folder / FloatModel.CHANNELS, pruned.channels)  # noqa: E731
        return ctx.save_model(pruned.model, spec, beside=written, pruning=done, val_accuracy=accuracy)

    def _pruned(self, model: nn.Module, spec: ModelSpec, ctx: Context) -> "Pruned":
        from edgekd.pruning.prune import prune, prune_to, prune_to_macs

        policy = self._policy(ctx.target)
        if self._limit is not None:
            widths = partial(self._widths, model, spec, self._limit, ctx)
            return prune_to(model, spec, widths, importance=self.importance, isa=policy["isa"])
        if self.macs_ratio is not None:
            return prune_to_macs(model, spec, self.macs_ratio, **policy)
        assert self.pruning_ratio is not None
        return prune(model, spec, self.pruning_ratio, **policy)

    def _widths(
        self, model: nn.Module, spec: ModelSpec, limit: Limit, ctx: Context, groups: "Sequence[Group]"
    ) -> list[int]:
        chosen = widths_within(model, spec, groups, limit, self.max_pruning_ratio, ctx.target, ctx.progress)
        ctx.progress.note(f"{ctx.name}: {limit.key} {chosen.cost:.4g}, wanted {limit.value:g}")
        return chosen.keep

    def _policy(self, target: Target) -> dict[str, Any]:
        return {
            "importance": self.importance,
            "scope": self.scope,
            "max_ratio": self.max_pruning_ratio,
            "isa": target.resolved_isa,
        }


def _check_here(limit: Limit, target: Target) -> None:
    """Raise ConfigError where a latency is wanted of another CPU's integers."""
    if not limit.is_size and target.resolved_isa != host_isa():
        problem = f"is measured on this CPU ({host_isa()}), and target.isa is {target.resolved_isa}"
        raise ConfigError(limit.key, problem, "run it there, or give pruning_ratio or size_kb")


def _write_channels(path: Path, channels: Mapping[str, list[int]]) -> None:
    with disk_errors(path):
        path.write_text(json.dumps(channels), encoding="utf-8")


def _summary(pruned: "Pruned") -> str:
    narrow = sorted({width.note for width in pruned.widths if width.note})
    layers = ", ".join(f"{width.layer} {width.before}->{width.after}" for width in pruned.widths)
    return (
        f"channels: {layers}\n"
        f"MACs {pruned.macs[0]:,} -> {pruned.macs[1]:,}, parameters {pruned.params[0]:,} -> {pruned.params[1]:,}"
        + "".join(f"\n{sum(w.note == note for w in pruned.widths)} layers {note}" for note in narrow)
    )
