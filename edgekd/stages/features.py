"""Feature terms of a stage: where student and teacher are compared, and which of their channels are the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.stages.base import Context, Stage
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.training.features import Features
from edgekd.zoo import ModelSpec, Place, Watch, places_of, random_images

Channels = Mapping[str, Sequence[int]]
"""Layer that lost channels -> the numbers that those which stayed have in the teacher."""
Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    """A place of the student and the teacher's of the same size.

    Args:
        channels: of the teacher's that are compared, in the student's order; None: all.
    """

    student: Place
    teacher: Place
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Compared:
    """Where a term compares student and teacher."""

    features: Features
    pairs: list[Pair]

    @property
    def in_words(self) -> str:
        places = ", ".join(
            pair.student.module
            if pair.student.module == pair.teacher.module
            else f"{pair.student.module} with {pair.teacher.module}"
            for pair in self.pairs
        )
        return f"{self.features.name} compares {places}"

    def watching(self, student: nn.Module, asked: Answer, teacher: nn.Module, answering: Answer) -> "FeatureTerm":
        """The term of two networks; ``asked`` and ``answering`` call them."""
        device = next(teacher.parameters()).device
        picked = [None if pair.channels is None else torch.tensor(pair.channels, device=device) for pair in self.pairs]
        return FeatureTerm(
            self.features,
            picked,
            Watch(student, asked, [pair.student for pair in self.pairs]),
            Watch(teacher, answering, [pair.teacher for pair in self.pairs]),
        )


@dataclass(frozen=True)
class FeatureTerm:
    """A feature term, once both networks have answered through these functions.

    Args:
        picked: numbers of the teacher's channels that are compared at each place; None: all.
    """

    features: Features
    picked: Sequence[Tensor | None]
    student: Watch
    teacher: Watch

    @property
    def name(self) -> str:
        return self.features.name

    @property
    def weight(self) -> float:
        return self.features.weight

    def value(self) -> Tensor:
        """The sum over all places; a scalar."""
        seen = zip(self.student.seen, self.teacher.seen, self.picked, strict=True)
        return torch.stack([self.features(own, _copied(others, picked)) for own, others, picked in seen]).sum()


def _copied(features: Tensor, picked: Tensor | None) -> Tensor:
    """A copy of some channels: what was computed in inference mode cannot be part of a loss."""
    return features.clone() if picked is None else features.index_select(1, picked)


def compared(
    features: Features, student: nn.Module, teacher: nn.Module, spec: ModelSpec, stayed: Channels | None, where: str
) -> Compared:
    """The last places of each size that both networks have.

    Args:
        features: the term.
        student: perhaps pruned.
        teacher: reads the same images.
        spec: of the student.
        stayed: of the student's channels; None: the term needs no pairs of channels.
        where: names the setting in errors.

    Raises:
        ConfigError: there is no such place.
    """
    images = random_images(spec, 2)
    own, others = places_of(student, images), places_of(teacher, images)
    pairs = [Pair(place, others[side]) for side, place in own.items() if side in others]
    if not pairs:
        sides = " and ".join(", ".join(f"{h}x{w}" for h, w in places) for places in (own, others))
        problem = f"student and teacher have no feature maps of one size ({sides})"
        raise ConfigError(where, problem, "leave it out, or take a student whose strides are the teacher's")
    if stayed is not None:
        pairs = [paired for pair in pairs if (paired := _paired(pair, stayed)) is not None]
        if not pairs:
            raise ConfigError(where, "the channels of no layer can be paired", "take attention or similarity")
    return Compared(features, pairs)


def _paired(pair: Pair, stayed: Channels) -> Pair | None:
    """The pair with its channels; None where not all that it comes from has the same ones (a concatenation has not)."""
    every = tuple(range(pair.teacher.channels))
    found = {tuple(stayed.get(layer, every)) for layer in pair.teacher.layers}
    channels = found.pop() if len(found) == 1 else ()
    alike = (pair.student.module, pair.student.call) == (pair.teacher.module, pair.teacher.call)
    return replace(pair, channels=channels) if alike and len(channels) == pair.student.channels else None


def stayed_of(ctx: Context) -> Channels:
    """Which channels of the teacher the student has, over all prunings between them.

    Raises:
        ConfigError: the student was not cut from the teacher, or nobody wrote down which channels stayed.
    """
    where, found = f"{ctx.where}.features", dict[str, list[int]]()
    artifact, teacher = ctx.inputs["source"], ctx.inputs["teacher"]
    while artifact.digest != teacher.digest:
        made = manifest_of(artifact, FloatModel)
        stayed = made.stayed(artifact)
        if stayed is None:
            problem = f"{made.facts.id} was pruned by an older edgekd, which did not write down the channels that stay"
            raise ConfigError(where, problem, f"delete {artifact.folder} and run again: only the pruning is done anew")
        found = _through(stayed, found)
        before = ctx.store.find(made.facts.parents.get("source", ""))
        if before is None:
            raise ConfigError(where, "the networks between student and teacher are not in the store", "run them again")
        artifact = before
    return found


def _through(earlier: Channels, later: Channels) -> dict[str, list[int]]:
    """Two prunings as one.

    >>> _through({"a": [0, 2, 5], "b": [1]}, {"a": [1, 2], "c": [3]})
    {'a': [2, 5], 'b': [1], 'c': [3]}
    """
    both = {
        layer: [earlier[layer][number] for number in numbers] if layer in earlier else list(numbers)
        for layer, numbers in later.items()
    }
    return {layer: both.get(layer, list(earlier.get(layer, ()))) for layer in dict.fromkeys([*earlier, *later])}


def check_cut_from(source: str, teacher: str, earlier: Sequence[Stage], where: str) -> None:
    """Raise ConfigError unless the source's network was cut from the teacher's, by stages between them."""
    stages = {stage.name: (stage, list(earlier[:index])) for index, stage in enumerate(earlier)}
    name: str | None = source
    while name is not None and name != teacher:
        if name not in stages:  # told by the check of references
            return
        stage, before = stages[name]
        name = stage.references(before, where).get("source")
    if name is None:
        problem = f"channels goes with a student that was cut from its teacher, and {source} was not from {teacher}"
        raise ConfigError(f"{where}.features", problem, "take attention or similarity")
