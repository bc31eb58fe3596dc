"""The page's table of the other students against the recommended one."""

from edgekd.report import wording as w
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.parts import small
from edgekd.report.schema import Report, Rival
from edgekd.significance import SIGNIFICANT


def students(report: Report) -> Html:
    """One row per student; nothing where the recommended file has no rival."""
    if not report.rivals:
        return NOTHING
    ours = report.recommended
    lead = (
        f"{ours} minus the other on the same test images, in percentage points, and how many images only one of the "
        f"two gets right. Where there is no difference, chance puts at most one row in 20 below p = {SIGNIFICANT:g}."
    )
    titles = ("the other", "difference", f"only {ours}", "only the other", "McNemar", "more accurate")
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    table = el(
        "table", el("thead", head), el("tbody", *(_row(ours, rival) for rival in report.rivals)), class_="rivals"
    )
    return join([el("p", lead, class_="lead"), el("div", table, class_="scroll")])


def _row(ours: str, rival: Rival) -> Html:
    measured = rival.p_value < SIGNIFICANT
    better = (ours if rival.difference > 0 else rival.id) if measured else w.NO_DIFFERENCE
    cells = [
        el("b", rival.id),
        join([w.minus(w.points(rival.difference)), small(w.minus(w.points_interval(rival.ci95)))]),
        f"{rival.only_recommended:,}",
        f"{rival.only_rival:,}",
        w.p_value(rival.p_value),
        el("span", better, class_="tag pass" if measured else "muted"),
    ]
    return el("tr", *(el("td", cell) for cell in cells))
