"""The comparison as one HTML page; a section that has no data is left out."""

from pathlib import Path

from edgekd.errors import ReportError
from edgekd.report.compare.cards import cards
from edgekd.report.compare.comparison import Comparison
from edgekd.report.compare.plot import clouds, cost_plot
from edgekd.report.compare.tables import pairs_table, places_table, runs_table, settings_table
from edgekd.report.compare.wording import SAME_SETTINGS, images_words
from edgekd.report.page.jinja import filled
from edgekd.report.wording import NO_DIFFERENCE
from edgekd.training.significance import SIGNIFICANT


def render_comparison_html(comparison: Comparison) -> str:
    """The whole page."""
    names, several = [run.name for run in comparison.runs], f"{len(comparison.runs)} runs compared"
    best_group = max(comparison.groups, key=len)
    return filled(
        "comparison.html.jinja",
        __package__,
        title=several,
        heading=" and ".join(names) if len(names) == 2 else several,
        comparison=comparison,
        images=dict.fromkeys(images_words(run) for run in comparison.runs),
        best_group=[run.name for run in best_group],
        cards=cards(best_group, comparison.pairs),
        runs=runs_table(comparison),
        clouds=list(clouds(comparison)),
        cost_plot=cost_plot,
        pairs=pairs_table(comparison.pairs),
        settings=settings_table(comparison),
        same_settings=SAME_SETTINGS,
        places=places_table(comparison),
        significant=SIGNIFICANT,
        no_difference=NO_DIFFERENCE,
    )


def write_comparison_html(path: Path, comparison: Comparison) -> None:
    """Write the page.

    Raises:
        ReportError: the disk refuses.
    """
    text = render_comparison_html(comparison)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written ({(error.strerror or str(error)).lower()})"
        raise ReportError(str(path), problem, "name a file in a folder that is there") from None
