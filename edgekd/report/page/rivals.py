"""The table of the other students against the recommended one."""

from edgekd.report import wording as w
from edgekd.report.schema import Report, Rival
from edgekd.report.table import Line, Row, Table, cell, figures, words
from edgekd.training.significance import SIGNIFICANT


def rivals_table(report: Report) -> Table:
    """One row per student."""
    ours = report.recommended
    columns = [
        words("the other"),
        figures("difference"),
        figures(f"only {ours}"),
        figures("only the other"),
        figures("McNemar"),
        words("more accurate"),
    ]
    return Table(columns, [_row(ours, rival) for rival in report.rivals])


def _row(ours: str, rival: Rival) -> Row:
    measured = rival.p_value < SIGNIFICANT
    better = (ours if rival.difference > 0 else rival.id) if measured else w.NO_DIFFERENCE
    return Row(
        [
            cell(Line(rival.id, "strong")),
            cell(w.minus(w.points(rival.difference)), w.minus(w.points_interval(rival.ci95))),
            cell(f"{rival.only_recommended:,}"),
            cell(f"{rival.only_rival:,}"),
            cell(w.p_value(rival.p_value)),
            cell(Line(better, "pass" if measured else "muted")),
        ]
    )
