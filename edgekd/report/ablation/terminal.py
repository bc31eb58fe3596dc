"""An ablation in a terminal: what each choice and each stage paid."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from edgekd.report.ablation.schema import Ablation
from edgekd.report.ablation.tables import choices_table, stages_table
from edgekd.report.ablation.wording import heading, summary
from edgekd.report.terminal import WIDE, drawn
from edgekd.report.wording import plain


def render_ablation(found: Ablation) -> RenderableType:
    """Two tables, as wide as the console allows."""
    return _Rendered(found)


@dataclass(frozen=True)
class _Rendered:
    found: Ablation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= WIDE
        yield Text(plain(heading(self.found)), "bold")
        yield Text(plain(summary(self.found)))
        yield drawn(choices_table(self.found), wide)
        yield Text("what each stage paid", "bold")
        yield drawn(stages_table(self.found), wide)
