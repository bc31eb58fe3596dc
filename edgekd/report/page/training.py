"""How a training went, in words, and the tables of what was tried before it."""

from edgekd.report import wording as w
from edgekd.report.stage_report import Search, StageReport
from edgekd.report.table import Line, Row, Table, cell, figures, words


def training_words(stage: StageReport) -> str:
    """Epochs, the best one, what was chosen, seconds."""
    best = "none better than the start, which was kept" if stage.best_epoch == 0 else f"the best is {stage.best_epoch}"
    chosen = [f"{_name(search)} {search.chosen:g} was chosen" for search in stage.searches]
    return ", ".join(
        [_epochs(len(stage.epochs)), *([] if stage.best_epoch is None else [best]), *chosen, w.seconds(stage.seconds)]
    )


def search_table(search: Search) -> Table:
    """One row for each value that was tried, in order."""
    columns = [words(_name(search)), figures(f"accuracy on val after {_epochs(search.epochs)}")]
    return Table(columns, [_row(trial.value, trial.val_accuracy, search.chosen) for trial in search.tried])


def _row(value: float, accuracy: float, chosen: float) -> Row:
    tag = Line("chosen", "pass") if value == chosen else None
    return Row([cell(Line(f"{value:g}", "strong")), cell(w.percent(accuracy))], tag=tag)


def _name(search: Search) -> str:
    return search.setting.replace("_", " ")


def _epochs(count: int) -> str:
    return f"{count} epochs" if count > 1 else "1 epoch"
