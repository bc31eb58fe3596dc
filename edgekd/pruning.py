"""Structured pruning: whole channels go, along torch-pruning's dependency graph, to widths the target likes."""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.errors import PruningError
from edgekd.narrow import trained_safely
from edgekd.ondevice.machine import Isa
from edgekd.target import round_width, width_step
from edgekd.zoo import ModelSpec, count_macs, count_params, example_images

Importance = Literal["l2", "taylor", "bn"]
Scope = Literal["global", "layer"]
RESIZABLE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
"""Kinds of layers, with those derived from them, whose widths ``zoo.with_widths`` restores."""


@dataclass(frozen=True)
class Group:
    """Channels that go or stay together, through every layer that shares them.

    Args:
        layers: names of the layers whose outputs they are; the first is the root.
        channels: outputs of the root.
        scores: importance per channel, shape ``(channels,)``, mean 1.
        kind: alike for groups of the same structure, which are ranked together.
        kept_because: why the group is left alone; empty where it may be pruned.
    """

    layers: tuple[str, ...]
    channels: int
    scores: Tensor
    kind: str
    kept_because: str = ""


@dataclass(frozen=True)
class WidthChange:
    """One layer's channels before and after."""

    layer: str
    before: int
    after: int
    note: str = ""


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what was done to it."""

    model: nn.Module
    widths: list[WidthChange]
    pruning_ratio: float
    macs: tuple[int, int]
    params: tuple[int, int]


def prune(
    model: nn.Module, spec: ModelSpec, ratio: float, *, importance: Importance, scope: Scope, max_ratio: float, isa: Isa
) -> Pruned:
    """A smaller copy of ``model``; the model itself stays as it is.

    Args:
        model: a float network; for ``taylor`` its parameters carry gradients (see ``accumulate_gradients``).
        spec: how it was built.
        ratio: share of channels to remove (0..1).
        importance: l2 (group norm of the weights), taylor (|weight x gradient|) or bn (batch-norm scale).
        scope: global ranks groups of the same structure together; layer removes the same share everywhere.
        max_ratio: no layer loses a larger share.
        isa: widths are rounded to what its kernels like.

    Raises:
        PruningError: the network cannot be traced, does not run afterwards, or nothing would be removed.
    """
    graph, groups = _groups(model, spec, importance)
    keep = plan_widths(groups, ratio, scope, max_ratio, isa)
    _check_something_goes(groups, keep, ratio)
    return _apply(model, graph, groups, keep, spec, ratio, isa)


def check_prunable(model: nn.Module, spec: ModelSpec, importance: Importance) -> None:
    """Prune half of every layer of a copy and forget it: whatever refuses does so before anything is trained.

    Args:
        model: a network of ``build(spec)``, trained or not; it stays as it is.
        spec: how it was built.
        importance: the measure that will rank channels.

    Raises:
        PruningError: the network cannot be pruned at all, or not by this measure.
    """
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.grad = torch.ones_like(parameter)
    graph, groups = _groups(twin, spec, importance)
    if all(group.kept_because for group in groups):
        reasons = ", ".join(sorted({group.kept_because for group in groups})) or "no layer feeds another"
        raise PruningError(spec.name, f"no layer can lose channels ({reasons})", "leave the prune stage out")
    keep = [group.channels if group.kept_because else max(1, group.channels // 2) for group in groups]
    _apply(twin, graph, groups, keep, spec, 0.5, "x86-avx2")


def prune_to_macs(model: nn.Module, spec: ModelSpec, macs_ratio: float, **policy: Any) -> Pruned:
    """The least pruned copy of ``model`` with at most ``macs_ratio`` of its MACs, by bisection of the channel ratio.

    Takes what ``prune`` takes. Widths go in steps, so that the MACs come out somewhat below the target.
    """
    low, high, best = 0.0, 0.98, None
    for _ in range(7):
        middle = (low + high) / 2
        pruned = _try_prune(model, spec, middle, policy)
        if pruned is not None and pruned.macs[1] <= macs_ratio * pruned.macs[0]:
            high, best = middle, pruned
        else:
            low = middle
    if best is None:
        raise PruningError(
            "macs_ratio", f"{macs_ratio} of the MACs cannot be reached", "raise macs_ratio or max_pruning_ratio"
        )
    return best


def _try_prune(model: nn.Module, spec: ModelSpec, ratio: float, policy: dict[str, Any]) -> Pruned | None:
    graph, groups = _groups(model, spec, policy["importance"])
    keep = plan_widths(groups, ratio, policy["scope"], policy["max_ratio"], policy["isa"])
    if keep == [group.channels for group in groups]:
        return None
    return _apply(model, graph, groups, keep, spec, ratio, policy["isa"])


def accumulate_gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Leave the cross-entropy's gradient over these batches in every parameter, for ``taylor``."""
    model.zero_grad()
    with trained_safely(model):
        for images, labels in batches:
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]


def plan_widths(groups: Sequence[Group], ratio: float, scope: Scope, max_ratio: float, isa: Isa) -> list[int]:
    """How many channels each group keeps."""
    wanted = _ranked(groups, ratio) if scope == "global" else [group.channels * (1 - ratio) for group in groups]
    return [_width(group, want, max_ratio, isa) for group, want in zip(groups, wanted, strict=True)]


def _width(group: Group, wanted: float, max_ratio: float, isa: Isa) -> int:
    """The rounded width, never below what ``max_ratio`` leaves."""
    if group.kept_because:
        return group.channels
    step = width_step(group.channels, isa)
    least = math.ceil(group.channels * (1 - max_ratio) / step - 1e-9) * step
    return min(group.channels, max(least, round_width(wanted, group.channels, isa)))


def _ranked(groups: Sequence[Group], ratio: float) -> list[float]:
    """Channels that stay where ``ratio`` of all channels of one kind of group go, the weakest first."""
    stay: dict[int, float] = {}
    for kind in {group.kind for group in groups}:
        alike = [i for i, group in enumerate(groups) if group.kind == kind]
        scores = torch.cat([groups[i].scores for i in alike])
        owners = torch.cat([torch.full((groups[i].channels,), i) for i in alike])
        staying = owners[scores.argsort(stable=True)[int(ratio * len(scores)) :]]
        stay |= {i: float((staying == i).sum()) for i in alike}
    return [stay[i] for i in range(len(groups))]


def _check_something_goes(groups: Sequence[Group], keep: Sequence[int], ratio: float) -> None:
    if all(group.channels == kept for group, kept in zip(groups, keep, strict=True)):
        widest = max((group.channels for group in groups if not group.kept_because), default=0)
        found = f"nothing is removed at {ratio:g}: the widest prunable layer has {widest} channels"
        raise PruningError("pruning_ratio", found, "raise the ratio or take a wider network")


_SCORERS: dict[str, Callable[[], Any]] = {
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "taylor": tp.importance.GroupTaylorImportance,
    "bn": tp.importance.BNScaleImportance,
}


def _groups(model: nn.Module, spec: ModelSpec, importance: Importance) -> tuple[Any, list[Group]]:
    """The dependency graph of a copy of the model, and its groups with their scores."""
    twin = copy.deepcopy(model).eval()
    for own, twins in zip(model.parameters(), twin.parameters(), strict=True):
        twins.requires_grad_(True)
        twins.grad = own.grad
    classifier = [m for m in twin.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    scorer = _SCORERS[importance]()
    try:
        graph = _dependency_graph(twin, spec)
        found = list(graph.get_all_groups(ignored_layers=[classifier], root_module_types=[nn.Conv2d, nn.Linear]))
        groups = [_group(graph, group, scorer, importance) for group in found]
    except PruningError:
        raise
    except Exception as error:
        problem = f"torch-pruning cannot follow its channels from layer to layer ({_first_line(error)})"
        raise PruningError(spec.name, problem, "leave the prune stage out") from None
    return graph, groups


def _dependency_graph(model: nn.Module, spec: ModelSpec) -> Any:
    with warnings.catch_warnings():
        # of parameters outside of layers; their groups are kept
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        return tp.DependencyGraph().build_dependency(model, example_inputs=example_images(spec))


def _first_line(error: Exception) -> str:
    """What went wrong; a division by zero is how torch-pruning meets channels that are shuffled."""
    if isinstance(error, ZeroDivisionError):
        return "they are shuffled or split into new axes"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _group(graph: Any, group: Any, scorer: Callable[[Any], Tensor | None], importance: str) -> Group:
    outputs = [dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)]
    layers = tuple(dict.fromkeys(graph._module2name[m] for m in outputs if isinstance(m, nn.Conv2d | nn.Linear)))
    channels = graph.get_out_channels(group[0][0].target.module)
    scores = scorer(group)
    if scores is None or len(scores) != channels:
        remedy = "take importance: l2" if importance == "bn" else "leave the prune stage out"
        raise PruningError(layers[0], f"importance {importance} finds nothing to score in this group of layers", remedy)
    kind = "|".join(f"{type(dep.target.module).__name__}:{dep.handler.__name__}" for dep, _ in group)
    sharing = [dep.target.module for dep, _ in group]
    return Group(layers, channels, scores.detach().float(), kind, _kept_because(sharing, scores))


def _kept_because(sharing: list[nn.Module | nn.Parameter], scores: Tensor) -> str:
    """Why channels stay, given whatever has a size of that many channels."""
    if any(isinstance(m, nn.Conv2d) and 1 < m.groups < m.out_channels for m in sharing):
        return "kept: a grouped convolution"
    fixed = {type(m).__name__ for m in sharing if not isinstance(m, RESIZABLE) and _has_size(m)}
    if fixed:
        return f"kept: channels that a {' and a '.join(sorted(fixed))} shares"
    return "" if bool(scores.isfinite().all()) else "kept: its importance is not finite"


def _has_size(layer: nn.Module | nn.Parameter) -> bool:
    return isinstance(layer, nn.Parameter) or any(True for _ in layer.parameters())


def _apply(
    model: nn.Module, graph: Any, groups: Sequence[Group], keep: Sequence[int], spec: ModelSpec, ratio: float, isa: Isa
) -> Pruned:
    twin = graph.model
    modules = dict(twin.named_modules())
    for group, kept in zip(groups, keep, strict=True):
        if kept < group.channels:
            root = modules[group.layers[0]]
            weakest = group.scores.argsort(stable=True)[: group.channels - kept].sort().values.tolist()
            graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, weakest).prune()
    _check_result(twin, groups, keep, spec)
    twin.zero_grad(set_to_none=True)
    changes = [
        WidthChange(layer, group.channels, kept, _note(group, kept, isa))
        for group, kept in zip(groups, keep, strict=True)
        for layer in group.layers
    ]
    macs = (count_macs(model, spec), count_macs(twin, spec))
    return Pruned(twin.eval(), changes, ratio, macs, (count_params(model), count_params(twin)))


def _check_result(twin: nn.Module, groups: Sequence[Group], keep: Sequence[int], spec: ModelSpec) -> None:
    """The widths must be the planned ones, and the network must still run."""
    modules = dict(twin.named_modules())
    for group, kept in zip(groups, keep, strict=True):
        found = getattr(modules[group.layers[0]], "out_channels", None) or modules[group.layers[0]].out_features
        if found != kept:
            raise PruningError(
                group.layers[0], f"has {found} channels where {kept} were planned", "leave the prune stage out"
            )
    try:
        with torch.inference_mode():
            shape = tuple(twin.eval()(example_images(spec)).shape)
    except Exception as error:
        raise PruningError(spec.name, f"does not run after pruning ({error})", "leave the prune stage out") from None
    if shape != (1, spec.num_classes):
        raise PruningError(
            spec.name, f"gives {shape} after pruning, not (1, {spec.num_classes})", "leave the prune stage out"
        )


def _note(group: Group, kept: int, isa: Isa) -> str:
    if group.kept_because:
        return group.kept_because
    if group.channels < width_step(group.channels, isa):
        return "kept: narrower than one step of the target's kernels"
    return f"narrower than 16: integer kernels gain little on {isa}" if kept < 16 and isa != "arm64" else ""
