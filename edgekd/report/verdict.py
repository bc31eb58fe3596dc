"""Which file is recommended, decided on val, and whether it keeps the budget, judged on test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgekd.report.fitting import (
    KEEPS_UP,
    SAME_SIZE,
    Budget,
    Candidate,
    Shortfall,
    check,
    missed,
    on_val,
    shortfalls,
    unasked,
    worst,
)
from edgekd.report.roles import reference
from edgekd.report.schema import ModelReport, Verdict
from edgekd.report.wording import NO_DIFFERENCE, PTQ_KEPT, listed
from edgekd.training.significance import SIGNIFICANT

Faster = Callable[[str, str], tuple[float, tuple[float, float]]]
"""Takes two files' ids: the first one's latency divided by the second one's, with its interval."""


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True)
class Choice:
    """The recommended file, or the nearest miss if no file fits, not even the teacher; and the verdict on it."""

    recommended: str
    verdict: Verdict


def choose(models: Sequence[ModelReport], budget: Budget, ratio: Faster) -> Choice:
    """Decide on val, judge on test.

    Candidates keep the limits on val, and keep up with the teacher unless there is a limit on accuracy. Among them,
    those that no other is measurably faster than; of these the smallest; of these the most accurate. Only the chosen
    file is then checked against the budget on ``test``: choosing the best of several there would be biased upwards.

    The teacher itself is recommended only if no other file fits, which is a failure if one was meant to.

    Args:
        models: every measured file.
        budget: the limits; without any the verdict is neither pass nor fail.
        ratio: paired latency ratio of two files.
    """
    base = reference(models)
    assert base is not None, "something was exported"
    others = [model for model in models if model is not base or base.stage != "teacher"]
    short = {model.id: shortfalls(model, budget, base) for model in models}
    fitting = [model for model in others if not short[model.id]]
    if fitting:
        chosen, why = _best(fitting, ratio, _Asked(budget, base, len(others)))
        return _judged(chosen, budget, why)
    # No student can be recommended: from here on the report names the file that comes nearest and what it misses.
    by_excess = sorted(models, key=lambda model: worst(short[model.id]))
    near = [_Near(model, short[model.id]) for model in by_excess if model in others or short[base.id]]
    # Not even the teacher keeps the limits, so it is no way out.
    if short[base.id]:
        return _nearest(near, budget, base)
    # Exporting only a teacher is not a failure; a student that gains nothing over its teacher is.
    if any(_compresses(model, base) for model in others):
        return _teacher_alone(base, near[0], budget)
    return _judged(base, budget, "")


def best_on_val(files: Sequence[C], budget: Budget, base: Candidate, ratio: Faster) -> C:
    """The file that ``choose`` takes, without judging it on test; where none fits, the nearest miss.

    Args:
        files: at least one, without the teacher's.
        budget: the limits.
        base: the file that they are compared with.
        ratio: paired latency ratio of two files.
    """
    short = {file.id: shortfalls(file, budget, base) for file in files}
    fitting = [file for file in files if not short[file.id]]
    if fitting:
        return _peers(fitting, ratio).chosen
    return min(files, key=lambda file: worst(short[file.id]))


def unbeaten(files: Sequence[C], ratio: Faster) -> list[C]:
    """The files that no other is measurably faster than.

    Decided by paired ratios: pooled medians include whatever slowed the machine down meanwhile.
    """
    found = [file for file in files if not _any_faster(file, files, ratio)]
    # Intervals may contradict one another all round, though only by chance.
    return found or [min(files, key=lambda file: file.latency_ms.p50)]


def _any_faster(file: Candidate, files: Sequence[Candidate], ratio: Faster) -> bool:
    return any(ratio(other.id, file.id)[1][1] < 1 for other in files if other is not file)


@dataclass(frozen=True)
class _Near:
    """A file that does not fit, and all its shortfalls."""

    model: ModelReport
    short: Sequence[Shortfall]

    @property
    def worst(self) -> str:
        return max(self.short, key=lambda item: item.excess).words


@dataclass(frozen=True)
class _Asked:
    """The requirements for a recommendation in words; ``others``: number of files besides the teacher."""

    budget: Budget
    base: ModelReport
    others: int

    @property
    def of_one(self) -> str:
        return self._words("keeps")

    @property
    def of_several(self) -> str:
        return self._words("keep")

    @property
    def alone(self) -> str:
        if self.others == 1:
            return f"It is the only file{self._beside}, and {self.of_one}."
        return f"It is the only one of {self.others} {self.files} that {self.of_one}."

    @property
    def files(self) -> str:
        return f"files{self._beside}"

    @property
    def _beside(self) -> str:
        return f" beside {self.base.id}" if self.base.stage == "teacher" else ""

    def _words(self, keep: str) -> str:
        if self.budget.accuracy_drop is not None:
            return f"{keep} the whole budget on val"
        limit = f"at most {100 * KEEPS_UP:g} point below it, McNemar p ≥ {SIGNIFICANT:g}"
        up = f"{keep} up with {self.base.id} on val ({limit})"
        return f"{keep} the budget and {up}" if self.budget.limits else up


@dataclass(frozen=True)
class _Peers(Generic[C]):
    """Of some files the fastest, of these the smallest, of these the most accurate."""

    fastest: Sequence[C]
    smallest: Sequence[C]
    chosen: C


def _peers(files: Sequence[C], ratio: Faster) -> _Peers[C]:
    fastest = unbeaten(files, ratio)
    least = min(file.size_bytes for file in fastest)
    smallest = [file for file in fastest if file.size_bytes <= least * (1 + SAME_SIZE)]
    return _Peers(fastest, smallest, max(smallest, key=lambda file: (on_val(file).accuracy, -file.size_bytes)))


def _best(files: Sequence[ModelReport], ratio: Faster, asked: _Asked) -> tuple[ModelReport, str]:
    """The best of the files that fit, and the reason."""
    found = _peers(files, ratio)
    alike, peers, chosen = found.fastest, found.smallest, found.chosen
    of = f"of the {len(files)} {asked.files} that {asked.of_several}"
    if len(files) == 1:
        why = asked.alone
    elif len(alike) == 1:
        why = f"It is the fastest {of}."
    elif len(peers) == 1:
        why = f"It is the smallest {of}, among the fastest ({NO_DIFFERENCE} in latency to {_others(alike, chosen)})."
    else:
        told = f"{NO_DIFFERENCE} in latency to {_others(peers, chosen)}, sizes within {SAME_SIZE * 100:.0f} %"
        why = f"Among the fastest and smallest {of} none is more accurate there ({told})."
    return chosen, why


def _others(models: Sequence[ModelReport], chosen: ModelReport) -> str:
    return ", ".join(model.id for model in models if model is not chosen)


def _judged(chosen: ModelReport, budget: Budget, why: str, failed: bool = False) -> Choice:
    """Check the chosen file against the budget on test."""
    checks = check(chosen, budget, chosen.accuracy_drop)
    misses = missed(checks)
    found = f"misses {listed([miss.words for miss in misses])}" if misses else "keeps the budget"
    judged = f"On test it {found}." if checks else "No budget was given."
    passed = False if misses or failed else True if checks else None
    return Choice(chosen.id, Verdict(passed=passed, checks=checks, reason=f"{why} {judged}{_kept(chosen)}".strip()))


def _kept(chosen: ModelReport) -> str:
    return f" Its integers are calibrated ones: {PTQ_KEPT}." if chosen.trained_in_vain else ""


def _nearest(near: Sequence[_Near], budget: Budget, base: ModelReport) -> Choice:
    """No file fits: take the one whose worst figure on val is least beyond its limit, and judge it on test."""
    nearest, worst = near[0].model, near[0].worst
    told = [miss.words for miss in missed(check(nearest, budget, nearest.accuracy_drop))]
    there = "" if worst in told else f": {worst}"
    why = f"None of {len(near)} files {_Asked(budget, base, 0).of_one}; this one comes nearest{there}."
    if nearest is base and len(near) > 1:
        why += f" Of the others {near[1].model.id} does: {near[1].worst}."
    return _judged(nearest, budget, why, failed=bool(unasked(nearest, budget, base)))


def _teacher_alone(teacher: ModelReport, near: _Near, budget: Budget) -> Choice:
    """The pipeline was to compress but gained nothing: a failure whatever the budget is."""
    wanted = f"{_Asked(budget, teacher, 0).of_one} and is smaller, faster or more accurate than {teacher.id}"
    reason = f"No other file {wanted}; {near.model.id} comes nearest: {near.worst}."
    checks = check(near.model, budget, near.model.accuracy_drop)
    return Choice(teacher.id, Verdict(passed=False, checks=checks, checked=near.model.id, reason=reason))


def _compresses(model: ModelReport, teacher: ModelReport) -> bool:
    return model.stage != "teacher" or model.size_bytes < teacher.size_bytes
