"""An ablation as one HTML page."""

from edgekd.report.ablation.plot import forest_plot
from edgekd.report.ablation.schema import Ablation
from edgekd.report.ablation.tables import choices_table, runs_table, stages_table
from edgekd.report.ablation.wording import arm_words, heading, summary
from edgekd.report.page.jinja import filled
from edgekd.report.wording import NO_DIFFERENCE


def render_ablation_html(found: Ablation) -> str:
    """The whole page."""
    return filled(
        "ablation.html.jinja",
        __package__,
        title=heading(found),
        found=found,
        summary=summary(found),
        results=[(arm, arm_words(arm)) for arm in found.arms],
        choices=choices_table(found),
        plot=forest_plot(found),
        stages=stages_table(found),
        runs=runs_table(found),
        several=len({run.seed for run in found.runs}) > 1,
        no_difference=NO_DIFFERENCE,
    )
