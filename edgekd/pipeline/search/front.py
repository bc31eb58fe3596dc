"""The end of a search: the files that no other beats, measured beside one another; only now test is read."""

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from edgekd.errors import ConfigError
from edgekd.onnx_export import ort
from edgekd.pipeline.search.contending import Contest, Reference, contest
from edgekd.pipeline.search.measuring import TrialFile
from edgekd.pipeline.search.study import Plan
from edgekd.pipeline.search.trial import Bench, files_of
from edgekd.report.build import target_facts
from edgekd.report.fitting import Budget, check, missed, shortfalls
from edgekd.report.paired import drop_interval, paired_test
from edgekd.report.schema import Check, Outcome, Ratio
from edgekd.report.search.front import unbeaten
from edgekd.report.search.schema import AgainstFile, Front, OnTest, Standing, Teacher, Tried
from edgekd.report.verdict import best_on_val
from edgekd.report.wording import images_at, listed
from edgekd.training.significance import wilson_interval


@dataclass(frozen=True)
class _Final:
    """The files that were chosen to be measured together, by the number of their trial.

    Args:
        found: on val, and in latency.
        right: which images of test each gets right, bool, shape ``(count,)``.
        teacher_right: the same of the teacher.
    """

    found: Contest
    right: Mapping[str, torch.Tensor]
    teacher_right: torch.Tensor

    @property
    def on_front(self) -> list[int]:
        """The fastest first, as measured together."""
        return unbeaten([(int(file.id), file) for file in self.found.files])


def front_of(bench: Bench, reference: Reference, plan: Plan, tried: Sequence[Tried], own: int | None) -> Front:
    """Measure the files that no other beats, and that of the file's own values; choose on val, judge on test.

    Args:
        bench: where trials were run.
        reference: what they are compared with.
        plan: of the search.
        tried: all trials.
        own: number of the trial with the file's own values, if it was measured.

    Raises:
        ConfigError: no trial could be measured.
    """
    final = _measured_together(bench, reference, _chosen(tried, own, bench.where))
    best, reason, outcome, checks = _verdict(final, bench.budget)
    data = reference.file.data
    return Front(
        pipeline=plan.name,
        file=Path(bench.where).name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        sampler=plan.sampler,
        seed=plan.seed,
        space={key: dimension.model_dump() for key, dimension in plan.space.items()},
        budget=bench.budget.limits,
        target=target_facts(bench.measurer.target, ort.saturates()),
        images=f"{images_at(data.name, data.image_size)}, {len(data.val):,} images of val, {len(data.test):,} of test",
        teacher=_teacher(reference, final),
        trials=list(tried),
        standings=_standings(final, {trial.number: trial for trial in tried}),
        best=best,
        outcome=outcome,
        checks=checks,
        reason=reason,
        against_file=None if own is None else _against(final, best, own),
    )


def _chosen(tried: Sequence[Tried], own: int | None, where: str) -> list[Tried]:
    """The trials on the front, of those that keep the budget if any does; and the file's own."""
    measured = [(trial.number, trial.contender) for trial in tried if trial.contender]
    if not measured:
        found = f"none of {len(tried)} trials could be measured; the first: {tried[0].detail}"
        raise ConfigError(f"{where}: search", found, "search other values, or run the file itself to see why")
    keep = [(number, file) for number, file in measured if not file.misses] or measured
    numbers = {*unbeaten(keep), *([] if own is None else [own])}
    return [trial for trial in tried if trial.number in numbers]


def _measured_together(bench: Bench, reference: Reference, chosen: Sequence[Tried]) -> _Final:
    with contextlib.ExitStack() as kept:
        files = {str(trial.number): _file_of(bench, trial, kept) for trial in chosen}
        found = contest(bench.measurer, reference, files)
        right = {name: bench.measurer.right(file, "test") for name, file in files.items()}
        return _Final(found, right, bench.measurer.right(reference.file, "test"))


def _file_of(bench: Bench, trial: Tried, kept: contextlib.ExitStack) -> TrialFile:
    """A trial's file, made again if it is gone; its artifacts are not collected while ``kept`` is open."""
    assert trial.contender is not None, "it was measured"
    made, data = kept.enter_context(bench.made(bench.pipeline(trial.values)))
    return next(file for file in files_of(made, data) if file.about.id == trial.contender.id)


def _verdict(final: _Final, budget: Budget) -> tuple[int, str, Outcome, list[Check]]:
    """The best trial, why it is, and whether its file keeps the budget, chosen on val and judged on test."""
    found = final.found
    fitting = [file for file in found.files if not shortfalls(file, budget, found.teacher)]
    best = best_on_val(found.files, budget, found.teacher, found.ratio)
    checks = check(best, budget, paired_test(final.teacher_right, final.right[best.id]).drop)
    misses = [miss.words for miss in missed(checks)]
    if fitting:
        why = f"Of the {len(fitting)} files measured together that keep the budget on val none is measurably faster, "
        why += "and of those as fast none is smaller by more than 1 % or as small and more accurate."
    else:
        nearest = max(shortfalls(best, budget, found.teacher), key=lambda item: item.excess)
        why = f"No trial keeps the budget on val; this one comes nearest: {nearest.words}."
    judged = f"On test it {f'misses {listed(misses)}' if misses else 'keeps the budget'}." if checks else ""
    outcome: Outcome = "fail" if misses or not fitting else "pass" if checks else "no budget"
    return int(best.id), f"{why} {judged}".strip(), outcome, checks


def _teacher(reference: Reference, final: _Final) -> Teacher:
    file = final.found.teacher
    return Teacher(
        id=file.id,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        latency_ms=file.latency_ms,
        val_accuracy=reference.accuracy,
        test_accuracy=float(final.teacher_right.double().mean()),
        seconds=reference.seconds,
    )


def _standings(final: _Final, tried: Mapping[int, Tried]) -> list[Standing]:
    on_front = final.on_front
    files = sorted(final.found.files, key=lambda file: file.latency_ratio.ratio)
    return [
        Standing(
            trial=int(file.id),
            contender=file.model_copy(update=_as_tried(tried[int(file.id)])),
            on_front=int(file.id) in on_front,
            on_test=_on_test(final.teacher_right, final.right[file.id]),
        )
        for file in files
    ]


def _as_tried(trial: Tried) -> dict[str, object]:
    assert trial.contender is not None, "it was measured"
    return {"id": trial.contender.id}


def _on_test(teacher: torch.Tensor, right: torch.Tensor) -> OnTest:
    found, correct = paired_test(teacher, right), int(right.sum())
    return OnTest(
        accuracy=correct / len(right),
        accuracy_ci95=wilson_interval(correct, len(right)),
        drop=found.drop,
        drop_ci95=drop_interval(found),
        correct=correct,
        total=len(right),
    )


def _against(final: _Final, best: int, own: int) -> AgainstFile:
    found = paired_test(final.right[str(own)], final.right[str(best)])
    low, high = drop_interval(found)
    sizes = {file.id: file.size_bytes for file in final.found.files}
    ratio, ci95 = final.found.ratio(str(best), str(own))
    return AgainstFile(
        trial=own,
        accuracy_difference=-found.drop,
        accuracy_ci95=(-high, -low),
        p_value=found.p_value,
        size_ratio=sizes[str(best)] / sizes[str(own)],
        latency_ratio=Ratio(ratio=ratio, ci95=ci95),
    )
