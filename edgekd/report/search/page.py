"""A search as one HTML page."""

from edgekd.report import wording as w
from edgekd.report.page.jinja import filled
from edgekd.report.search.cards import cards
from edgekd.report.search.plot import front_plot
from edgekd.report.search.schema import BEST, FILE, Front
from edgekd.report.search.tables import standings_table, trials_table
from edgekd.report.search.wording import against_file_words, space_words, values_words
from edgekd.training.significance import SIGNIFICANT


def render_search_html(front: Front) -> str:
    """The whole page."""
    best = front.tried(front.best)
    return filled(
        "search.html.jinja",
        __package__,
        title=f"{front.pipeline}: {len(front.trials)} trials",
        front=front,
        badge={"pass": "pass", "fail": "fail", "no budget": "none"}[front.outcome],
        chosen=f"trial {front.best}: {values_words(best.values)}",
        cards=cards(front),
        plot=front_plot(front),
        standings=standings_table(front, values=True),
        against=against_file_words(front.against_file) if front.against_file else [],
        trials=trials_table(front),
        space={key: space_words(given) for key, given in front.space.items()},
        work=w.seconds(front.seconds),
        best_file=BEST,
        record=FILE,
        significant=SIGNIFICANT,
    )
