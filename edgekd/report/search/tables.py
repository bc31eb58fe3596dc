"""The tables of a search: the files measured together, the best one against the file's own, every trial."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.report import wording as w
from edgekd.report.schema import Outcome
from edgekd.report.search.schema import Contender, Front, Standing, Tried
from edgekd.report.search.wording import value_words
from edgekd.report.table import Cell, Column, Line, Row, Table, cell, figures, words

AS_IT_IS = "the file as it is"
_NOTHING = "–"
_COLUMNS = (
    words("trial", "file"),
    figures("val accuracy", "drop, points"),
    figures("test accuracy", "[95 %]"),
    figures("size, kB", "ratio"),
    figures("p50, ms", "ratio [95 %]", narrowest=len("0.33 [0.32, 0.34]")),
)


def standings_table(front: Front, *, values: bool) -> Table:
    """The files that were measured together, the fastest first; ``values``: with a column for each setting."""
    titles = [_setting(key) for key in front.space] if values else []
    rows = [_standing(front, standing, values=values) for standing in front.standings]
    return Table([*_COLUMNS, *titles], [_teacher(front, len(titles)), *rows])


def _teacher(front: Front, more: int) -> Row:
    teacher = front.teacher
    return Row(
        [
            cell(Line("teacher", "strong"), teacher.id),
            cell(w.percent(teacher.val_accuracy)),
            cell(w.percent(teacher.test_accuracy)),
            cell(w.kilobytes(teacher.size_bytes), w.ratio(1.0)),
            cell(w.milliseconds(teacher.latency_ms.p50), w.ratio(1.0)),
            *[cell(Line(_NOTHING, "muted"))] * more,
        ]
    )


def _standing(front: Front, standing: Standing, *, values: bool) -> Row:
    found, test = standing.contender, standing.on_test
    own = front.against_file is not None and front.against_file.trial == standing.trial
    cells = [
        cell(Line(str(standing.trial), "strong"), f"{found.id}, {found.precision}", AS_IT_IS if own else ""),
        cell(w.percent(found.accuracy), w.minus(w.points(found.val_paired.drop))),
        cell(w.percent(test.accuracy), w.percent_interval(test.accuracy_ci95)),
        cell(w.kilobytes(found.size_bytes), w.ratio(found.size_ratio)),
        cell(w.milliseconds(found.latency_ms.p50), w.ratio_with_interval(found.latency_ratio)),
    ]
    tried = _values(front, front.tried(standing.trial).values) if values else []
    return Row([*cells, *tried], tag=_tag(front, standing), chosen=_chosen(front, standing))


def _tag(front: Front, standing: Standing) -> Line | None:
    if standing.trial == front.best:
        return Line("best", "warn" if front.outcome == "fail" else "pass")
    return None if standing.on_front else Line("beaten", "quiet")


def _chosen(front: Front, standing: Standing) -> Outcome | None:
    return front.outcome if standing.trial == front.best else None


def trials_table(front: Front) -> Table:
    """One row for each trial."""
    titles = [words("trial"), figures("val accuracy"), figures("size, kB"), figures("latency ratio"), figures("took")]
    settings = [_setting(key) for key in front.space]
    return Table([*titles, *settings, words("")], [_trial(front, trial) for trial in front.trials])


def _trial(front: Front, trial: Tried) -> Row:
    costs = _figures(trial.contender)
    took = cell(w.seconds(trial.seconds))
    return Row([cell(Line(str(trial.number), "strong")), *costs, took, *_values(front, trial.values), _ended(trial)])


def _figures(found: Contender | None) -> Sequence[Cell]:
    if found is None:
        return [cell(Line(_NOTHING, "muted"))] * 3
    return [
        cell(w.percent(found.accuracy)),
        cell(w.kilobytes(found.size_bytes)),
        cell(w.ratio_with_interval(found.latency_ratio)),
    ]


def _ended(trial: Tried) -> Cell:
    """What became of a trial: it fits where nothing keeps it from being recommended."""
    if trial.contender is None:
        return cell(Line(trial.outcome, "quiet"), Line(trial.detail, "small"))
    missed = w.listed(trial.contender.misses) if trial.contender.misses else ""
    return cell(Line(f"misses {missed}", "muted")) if missed else cell(Line("fits", "pass"))


def _setting(key: str) -> Column:
    stage, _, setting = key.removeprefix("stages.").partition(".")
    return words(stage, setting) if setting else words(stage)


def _values(front: Front, values: Mapping[str, Any]) -> list[Cell]:
    return [cell(Line(value_words(values[key]), "code")) for key in front.space]
