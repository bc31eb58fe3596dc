"""How long what is left of an ablation will take, by what took how long before."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Took(NamedTuple):
    """A stage of an arm that has been made, and how long that took."""

    arm: str
    stage: str
    seconds: float


class ToDo(NamedTuple):
    """A stage of an arm that is to be made; one digest is made once for all arms."""

    arm: str
    stage: str
    digest: str


def seconds_left(to_do: Iterable[ToDo], took: Sequence[Took]) -> float | None:
    """About how long it will take; None while something has to be made whose like never was.

    A stage is taken to last as long as it did in the same arm with other seeds, else as in the other arms.

    >>> seconds_left([ToDo("labels", "qat", "b2"), ToDo("ptq", "qat", "b2")], [Took("base", "qat", 8.0)])
    8.0
    """
    each = {item.digest: _seconds(item, took) for item in to_do}
    known = [seconds for seconds in each.values() if seconds is not None]
    return None if len(known) < len(each) else sum(known, 0.0)


def _seconds(item: ToDo, took: Sequence[Took]) -> float | None:
    alike = [each for each in took if each.stage == item.stage]
    nearest = [each.seconds for each in alike if each.arm == item.arm] or [each.seconds for each in alike]
    return sum(nearest) / len(nearest) if nearest else None
