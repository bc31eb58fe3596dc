"""The words of an ablation, shared by terminal and page."""

from edgekd.report import wording as w
from edgekd.report.ablation.schema import BASE, Ablation, ArmPaid, Change, Points
from edgekd.report.schema import Ratio


def heading(found: Ablation) -> str:
    return f"{found.pipeline}: what each choice paid"


def summary(found: Ablation) -> str:
    """What was compared, and how much of it is there."""
    seeds = sorted({run.seed for run in found.runs if run.arm == BASE})
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {w.listed([str(seed) for seed in seeds])}"
    left = f"; {found.runs_left} of the runs for seeds {_span(found.seeds)} are still to do" if found.runs_left else ""
    return f"The file of {found.compared}, {named}, {found.data.test:,} test images{left}."


def _span(seeds: list[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def arm_words(arm: ArmPaid) -> str:
    """The result of one arm, as it follows its name and what it does."""
    if arm.change is None:
        return f"could not be run: {arm.error}" if arm.error else "not run yet"
    further = f"{_cost(arm.change)}{f' Could not be run {arm.error}.' if arm.error else ''}"
    test = arm.change.test
    if not test.measured:
        return f"{w.NO_DIFFERENCE}: {points(test)} points.{further}"
    verb = "gains" if test.difference > 0 else "loses"
    return f"{verb} {w.points(abs(test.difference)).lstrip('+')} points {interval(test)}.{further}"


def _cost(change: Change) -> str:
    macs = w.ratio(change.macs_ratio.ratio)
    return "" if macs == w.ratio(1.0) else f" It has {macs} of the MACs."


def points(found: Points) -> str:
    """A difference with its interval, in percentage points."""
    return f"{w.minus(w.points(found.difference))} {interval(found)}"


def interval(found: Points) -> str:
    return w.minus(w.points_interval(found.ci95))


def ratio(found: Ratio) -> str:
    """A ratio, and its interval where it has one."""
    low, high = (w.ratio(bound) for bound in found.ci95)
    return w.ratio(found.ratio) if low == high else w.ratio_with_interval(found)


def steps_words(arm: ArmPaid, found: Ablation) -> str:
    """By how many training steps an arm differs; empty where it has the same."""
    more = arm.steps - found.steps
    if not more or arm.change is None:
        return ""
    return f"{abs(more):,} training steps {'more' if more > 0 else 'fewer'}"
