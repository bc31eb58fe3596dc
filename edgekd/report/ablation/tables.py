"""An ablation's tables: what each choice paid, what each stage paid, every run."""

from collections.abc import Sequence

from edgekd.report import wording as w
from edgekd.report.ablation.schema import BASE, Ablation, ArmPaid, Change, RunFigures, StagePaid
from edgekd.report.ablation.wording import interval, ratio, steps_words
from edgekd.report.table import Cell, Column, Line, Row, Table, cell, figures, words

_NOTHING = cell(Line("–", "muted"))
_PAID = (
    figures("points", "[95 %]"),
    figures("on val", "[95 %]", always=False),
    figures("size", "ratio"),
    figures("MACs", "ratio", always=False),
    figures("latency", "ratio [95 %]", narrowest=len("0.33 [0.32, 0.34]")),
)


def choices_table(found: Ablation) -> Table:
    """The file itself, and each arm against it."""
    rows = [_base(found), *(_arm(arm, found) for arm in found.arms)]
    return Table([Column(cell("arm"), "left", narrowest=18), figures("accuracy", "on val"), *_PAID], rows)


def stages_table(found: Ablation) -> Table:
    """Each stage's file against the one before it, over the seeds of the file."""
    return Table([words("stage", "against"), *_PAID], [_stage(stage) for stage in found.stages])


def runs_table(found: Ablation) -> Table:
    """The compared file of every run, seed by seed."""
    columns = [
        words("seed"),
        words("arm"),
        figures("accuracy", "right"),
        figures("on val"),
        words("file"),
        figures("size, kB"),
        figures("p50, ms", "of its teacher [95 %]"),
    ]
    last = {run.seed: run for run in found.runs}
    return Table(columns, [_run(run, ends=last[run.seed] is run) for run in found.runs])


def _base(found: Ablation) -> Row:
    """Absolute figures, means over seeds."""
    runs = [run for run in found.runs if run.arm == BASE]
    size, macs = (round(_mean(values)) for values in ([run.size_bytes for run in runs], [run.macs for run in runs]))
    p50 = f"{w.milliseconds(_mean([run.latency_p50_ms for run in runs]))} ms"
    costs = [cell(f"{w.kilobytes(size)} kB"), cell(w.count(macs)), cell(p50)]
    name = cell(Line(BASE, "strong"), "as the file says")
    return Row([name, _accuracy(runs), _NOTHING, _NOTHING, *costs], ends_group=True)


def _arm(arm: ArmPaid, found: Ablation) -> Row:
    name = cell(Line(arm.name, "strong"), arm.sentence, steps_words(arm, found), *_missing(arm))
    if arm.change is None:
        return Row([name, *[_NOTHING] * (1 + len(_PAID))])
    runs = [run for run in found.runs if run.arm == arm.name]
    return Row([name, _accuracy(runs), *_paid(arm.change)])


def _missing(arm: ArmPaid) -> list[str | Line]:
    if arm.error:
        return [Line("could not be run", "warn"), arm.error]
    return [] if arm.change else [Line("not run yet", "quiet")]


def _stage(stage: StagePaid) -> Row:
    return Row([cell(Line(stage.id, "strong"), f"against {stage.before}"), *_paid(stage.change)])


def _accuracy(runs: Sequence[RunFigures]) -> Cell:
    test, val = _mean([run.accuracy for run in runs]), _mean([run.val_accuracy for run in runs])
    return cell(w.percent(test), w.percent(val))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _paid(change: Change) -> list[Cell]:
    test, val = change.test, change.val
    verdict = "" if test.measured else w.NO_DIFFERENCE
    faster = "" if change.latency_ratio.measured else w.NO_DIFFERENCE
    return [
        cell(w.minus(w.points(test.difference)), interval(test), verdict),
        cell(w.minus(w.points(val.difference)), interval(val)),
        cell(ratio(change.size_ratio)),
        cell(ratio(change.macs_ratio)),
        cell(ratio(change.latency_ratio), faster),
    ]


def _run(run: RunFigures, ends: bool) -> Row:
    kept = w.PTQ_KEPT if run.kept == "ptq" and run.file.endswith(".ptq") else ""
    return Row(
        [
            cell(str(run.seed)),
            cell(run.arm),
            cell(w.percent(run.accuracy), f"{run.correct:,} of {run.total:,}"),
            cell(w.percent(run.val_accuracy)),
            cell(run.file, kept),
            cell(w.kilobytes(run.size_bytes)),
            cell(w.milliseconds(run.latency_p50_ms), w.ratio_with_interval(run.latency_ratio)),
        ],
        ends_group=ends,
    )
