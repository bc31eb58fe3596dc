"""A search in a terminal: the verdict, the files measured together, what became of the trials."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from edgekd.report import wording as w
from edgekd.report.search.schema import Front
from edgekd.report.search.tables import standings_table
from edgekd.report.search.wording import against_file_words, values_words
from edgekd.report.terminal import COLOURS, WIDE, drawn, told


def render_front(front: Front) -> RenderableType:
    """The verdict, a table as wide as the console allows, and a line for each thing to know."""
    return _Rendered(front)


@dataclass(frozen=True)
class _Rendered:
    front: Front

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        front = self.front
        badge = (front.outcome.upper(), f"bold {COLOURS[front.outcome]}")
        yield Text.assemble(badge, "  ", (f"trial {front.best}", "bold"), f" is best: {w.plain(front.reason)}")
        yield drawn(standings_table(front, values=False), wide=options.max_width >= WIDE)
        yield Text(w.plain(f"trial {front.best}: {values_words(front.tried(front.best).values)}"))
        if front.against_file:
            yield from told("against the file as it is", against_file_words(front.against_file))
        ended = Counter(trial.outcome for trial in front.trials)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in ended.items())
        yield Text(f"{len(front.trials)} trials ({outcomes}), {w.seconds(front.seconds)} of work")
