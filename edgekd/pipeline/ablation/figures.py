"""From runs that have ended to what each stage and each choice paid."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from edgekd.errors import ExportError
from edgekd.ondevice.latency import percentiles
from edgekd.pipeline.ablation.arms import Arm
from edgekd.pipeline.ablation.chain import Chain
from edgekd.pipeline.ablation.plan import Plan, Run, steps_of
from edgekd.pipeline.ablation.runs import Ended
from edgekd.pipeline.pipeline import Outcome, Pipeline
from edgekd.report import schema
from edgekd.report.ablation.schema import BASE, Ablation, ArmPaid, Change, Points, RunFigures, StagePaid
from edgekd.report.build import data_facts, target_facts
from edgekd.stages.manifests import ExportedFile
from edgekd.training.environment import environment
from edgekd.training.over_seeds import Flags, Ratio, accuracy_difference, mean_ratio, quotient
from edgekd.training.parallel import ALONE

BySeed: TypeAlias = Mapping[int, Outcome]


@dataclass(frozen=True)
class Answers:
    """A stage's file in one run, and which images it gets right, bool, shape ``(images,)``."""

    file: ExportedFile
    test: Flags
    val: Flags


@dataclass(frozen=True)
class Pair:
    """Two files that were made with one seed; ``latency``: the second's divided by the first's."""

    seed: int
    first: Answers
    second: Answers
    latency: Ratio


def ablation(plan: Plan, done: Sequence[Ended]) -> Ablation:
    """What can be said by now.

    Args:
        plan: of the whole.
        done: a run of the file itself among them.

    Raises:
        ExportError: a stage's file is another stage's too.
    """
    base, data, found = plan.base, plan.runs[0].data, _outcomes(plan, done)
    first = next(iter(found[BASE].values()))
    return Ablation(
        pipeline=base.pipeline.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        compared=base.compared,
        reference=base.reference,
        seeds=list(plan.seeds),
        steps=steps_of(base, data),
        stages=list(_stages(base, found[BASE])),
        arms=[_arm(arm, plan, found, done) for arm in plan.arms],
        runs=[_figures(run, found[run.arm][run.seed], base) for run in plan.runs if run.seed in found[run.arm]],
        target=target_facts(base.pipeline.target, first.measured.saturates),
        data=data_facts(first.subject),
        environment={**environment(), **ALONE.record()},
    )


def _outcomes(plan: Plan, done: Sequence[Ended]) -> dict[str, dict[int, Outcome]]:
    """Arm -> seed -> what was measured, in order."""
    ended = {(each.run.arm, each.run.seed): each.outcome for each in done}
    return {
        name: {seed: found for seed in plan.seeds if isinstance(found := ended.get((name, seed)), Outcome)}
        for name in (BASE, *(arm.name for arm in plan.arms))
    }


def _stages(base: Chain, outcomes: BySeed) -> Iterator[StagePaid]:
    """Each file of the chain against the one before it; the teacher's comes first."""
    path = [stage.name for stage in base.path]
    names = path if base.reference in path else [base.reference, *path]
    kinds = {stage.name: stage.kind for stage in base.stages}
    for before, name in pairwise(names):
        pairs = [_within(seed, outcome, before, name) for seed, outcome in outcomes.items()]
        yield StagePaid(id=name, stage=kinds[name], before=before, change=_change(pairs))


def _arm(arm: Arm, plan: Plan, found: Mapping[str, BySeed], done: Sequence[Ended]) -> ArmPaid:
    base, own = found[BASE], found[arm.name]
    pairs = [_between(seed, base[seed], own[seed], plan.base) for seed in plan.seeds if seed in base and seed in own]
    # As many images as the file's: an arm that sees others was refused.
    steps = steps_of(arm.chain, plan.runs[0].data) if arm.chain else 0
    return ArmPaid(
        name=arm.name,
        sentence=arm.sentence,
        settings=list(differences(plan.base.pipeline, arm.chain.pipeline)) if arm.chain else [],
        steps=steps,
        change=_change(pairs) if pairs else None,
        error=arm.error or _error(arm, done, bool(pairs)),
    )


def _error(arm: Arm, done: Sequence[Ended], some: bool) -> str:
    """Why an arm could not be run, with the seed where it could with others."""
    failed = [each for each in done if each.run.arm == arm.name and not isinstance(each.outcome, Outcome)]
    if not failed:
        return ""
    return f"with seed {failed[0].run.seed}: {failed[0].outcome}" if some else str(failed[0].outcome)


def differences(base: Pipeline, other: Pipeline) -> Iterator[str]:
    """The settings of another pipeline that differ from the file's, a line each.

    Args:
        base: the file's.
        other: an arm's.
    """
    before, after = _sections(base), _sections(other)
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield f"no {name}"
        else:
            yield from _changes(name, before.get(name, {}), after[name])


def _changes(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key, value in after.items():
        if key not in before or before[key] != value:
            yield f"{name}.{key}: {value}" + (f" (file: {before[key]})" if key in before else "")


def _sections(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    shared = {"data": pipeline.data.model_dump(), "target": pipeline.target.model_dump()}
    # Where a stage stands is told by the stages that are left out.
    stages = {stage.name: stage.model_dump(exclude_none=True, exclude={"id", "source"}) for stage in pipeline.stages}
    return {**shared, **stages}


def _within(seed: int, outcome: Outcome, first: str, second: str) -> Pair:
    one, other = _answers(outcome, first), _answers(outcome, second)
    return Pair(seed, one, other, outcome.measured.ratio(other.file.id, one.file.id))


def _between(seed: int, base: Outcome, arm: Outcome, chain: Chain) -> Pair:
    """The arm's file against the file's own: each was measured beside the same teacher's file."""
    one, other = _answers(base, chain.compared), _answers(arm, chain.compared)
    return Pair(seed, one, other, quotient(_to_reference(arm, chain), _to_reference(base, chain)))


def _to_reference(outcome: Outcome, chain: Chain) -> Ratio:
    file, reference = _answers(outcome, chain.compared).file, _answers(outcome, chain.reference).file
    return outcome.measured.ratio(file.id, reference.id)


def _answers(outcome: Outcome, stage: str) -> Answers:
    # A quantizing stage has two: the one that it kept comes first.
    file = next((file for file in outcome.measured.files if file.stage == stage), None)
    if file is None:
        raise ExportError(stage, "its file is the same as another stage's", "leave one of the two stages out")
    data, chosen = outcome.subject.data, outcome.measured.chosen
    test, val = chosen[file.id] == data.test.labels, chosen[f"{file.id}/val"] == data.val.labels
    return Answers(file, test.numpy(), val.numpy())


def _change(pairs: Sequence[Pair]) -> Change:
    sizes = [(pair.first.file.size_bytes, pair.second.file.size_bytes) for pair in pairs]
    macs = [(pair.first.file.macs, pair.second.file.macs) for pair in pairs]
    return Change(
        seeds=[pair.seed for pair in pairs],
        test=_points([pair.first.test for pair in pairs], [pair.second.test for pair in pairs]),
        val=_points([pair.first.val for pair in pairs], [pair.second.val for pair in pairs]),
        size_ratio=_ratio([_exact(second / first) for first, second in sizes]),
        macs_ratio=_ratio([_exact(second / first) for first, second in macs]),
        latency_ratio=_ratio([pair.latency for pair in pairs]),
    )


def _points(first: Sequence[Flags], second: Sequence[Flags]) -> Points:
    difference, ci95 = accuracy_difference(np.stack(first), np.stack(second))
    return Points(difference=difference, ci95=ci95)


def _ratio(ratios: Sequence[Ratio]) -> schema.Ratio:
    ratio, ci95 = mean_ratio(ratios)
    return schema.Ratio(ratio=ratio, ci95=ci95)


def _exact(ratio: float) -> Ratio:
    return ratio, (ratio, ratio)


def _figures(run: Run, outcome: Outcome, base: Chain) -> RunFigures:
    found, ratio = _answers(outcome, base.compared), _to_reference(outcome, base)
    file, ids = found.file, [each.id for each in outcome.measured.files]
    return RunFigures(
        arm=run.arm,
        seed=run.seed,
        file=file.id,
        kept=file.kept,
        correct=int(found.test.sum()),
        total=len(found.test),
        accuracy=float(found.test.mean()),
        val_accuracy=float(found.val.mean()),
        size_bytes=file.size_bytes,
        macs=file.macs,
        params=file.params,
        latency_p50_ms=percentiles(outcome.measured.latencies.runs_ms[ids.index(file.id)])["p50"],
        latency_ratio=schema.Ratio(ratio=ratio[0], ci95=ratio[1]),
        digests=run.digests,
    )
