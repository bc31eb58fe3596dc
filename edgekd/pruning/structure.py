"""A network's groups of channels, each proved to be prunable."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgekd.errors import PruningError
from edgekd.pruning.criteria import Importance
from edgekd.pruning.cut import Cut, removed, together
from edgekd.pruning.graph import (
    Graph,
    Layer,
    all_of,
    cut_of,
    dependency_graph,
    find_groups,
    lost_in,
    not_for_memory,
    outputs_of,
)
from edgekd.pruning.group import Group
from edgekd.pruning.proof import Proof, proof_of
from edgekd.pruning.scores import scored
from edgekd.zoo import ModelSpec, count_macs, ends_of, example_images


@dataclass(frozen=True)
class Structure:
    """A network, its groups of channels, and what is needed to prove their cuts."""

    model: nn.Module
    spec: ModelSpec
    graph: Graph
    groups: list[Group]
    proof: Proof

    def macs(self, keep: Sequence[int]) -> int:
        """Multiply-accumulates if each group keeps that many channels."""
        return count_macs(removed(self.model, self._cut(keep)), self.spec)

    def proved(self, keep: Sequence[int]) -> nn.Module:
        """A copy in eval mode in which each group keeps that many channels, those with the highest scores.

        Raises:
            PruningError: the copy does not answer like the network without these channels.
        """
        cut = self._cut(keep)
        if not self.proof.holds([cut]):
            raise PruningError(
                self.spec.name, "answers otherwise than without the removed channels", "leave the prune stage out"
            )
        return removed(self.model, cut).eval()

    def stay(self, keep: Sequence[int]) -> dict[str, list[int]]:
        """The outputs that stay of each layer which loses some, as numbers in the whole network."""
        gone = self._cut(keep).outputs
        layers = {
            name: layer for name, layer in self.model.named_modules() if name in gone and isinstance(layer, Layer)
        }
        return {name: sorted(set(range(outputs_of(layer))) - gone[name]) for name, layer in layers.items()}

    def _cut(self, keep: Sequence[int]) -> Cut:
        return together(
            cut_of(self.graph, group, group.scores.argsort(stable=True)[: group.channels - kept].sort().values.tolist())
            for group, kept in zip(self.groups, keep, strict=True)
            if kept < group.channels
        )


def structure_of(model: nn.Module, spec: ModelSpec, importance: Importance) -> Structure:
    """The groups of a network; those that cannot be followed, or whose proof fails, are kept.

    Raises:
        PruningError: the network cannot be traced, or no layer can lose channels.
    """
    twin = copy.deepcopy(model).eval()
    for own, twins in zip(model.parameters(), twin.parameters(), strict=True):
        twins.requires_grad_(True)
        # torch copies a parameter without its gradient, which ``Taylor`` reads.
        twins.grad = own.grad
    heads = [twin.get_submodule(name) for name in ends_of(twin, example_images(spec)).heads]
    graph, proof = dependency_graph(twin, spec), proof_of(model, spec)
    groups = _proved(graph, list(find_groups(graph, heads)), proof)
    if all(group.kept_because for group in groups):
        reasons = ", ".join(sorted({group.kept_because for group in groups})) or "no layer feeds another"
        raise PruningError(spec.name, f"no layer can lose channels ({reasons})", "leave the prune stage out")
    return Structure(model, spec, graph, [scored(graph, group, importance) for group in groups], proof)


def _proved(graph: Graph, groups: list[Group], proof: Proof) -> list[Group]:
    """The groups; kept if cutting half of their channels cannot be proved."""
    free = [group for group in groups if not group.kept_because and group.channels > 1]
    cuts = {group.layers[0]: cut for group in free if (cut := _half(graph, group)) is not None}
    wrong = proof.wrong(list(cuts.values()))
    right = {root for number, root in enumerate(cuts) if number not in wrong}
    lost = {group.layers[0] for group in free} - right
    return [
        replace(group, kept_because=lost_in(dep.target for dep, _ in all_of(graph, group)))
        if group.layers[0] in lost
        else group
        for group in groups
    ]


def _half(graph: Graph, group: Group) -> Cut | None:
    """The cut of a random half of the channels; None if other channels would have to go as well."""
    # Scattered, because a wrong cut of exactly the first half can look right behind a split in the middle.
    order = torch.randperm(group.channels, generator=torch.Generator().manual_seed(0))
    try:
        return cut_of(graph, group, sorted(order[: group.channels // 2].tolist()))
    # torch-pruning may raise anything on its way.
    except Exception as error:
        not_for_memory(error)
        return None
