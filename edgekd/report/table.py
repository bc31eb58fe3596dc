"""A table as a terminal and a page draw it: its columns, and the lines of each cell, are said in one place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekd.report.schema import Outcome

Look = Literal["", "strong", "small", "code", "muted", "pass", "warn", "fail", "quiet"]
"""From ``pass`` on: tags on a page, colours in a terminal."""


@dataclass(frozen=True)
class Line:
    """One line of a cell.

    Args:
        text: as it was found; whoever draws it makes it harmless.
        look: what sets it off.
        aside: what a page, which has room, adds.
    """

    text: str
    look: Look = ""
    aside: str = ""


Cell = tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column's title, with a line for each line of its cells.

    Args:
        side: where cells and title stand.
        always: a narrow terminal shows it too.
        narrowest: characters that a terminal must not go below.
    """

    title: Cell
    side: Literal["left", "right"]
    always: bool = True
    narrowest: int | None = None


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        tag: what is said beside its first word.
        chosen: the verdict, where it is on this row's file.
        ends_group: a line parts it from the next row.
    """

    cells: Sequence[Cell]
    tag: Line | None = None
    chosen: Outcome | None = None
    ends_group: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, and rows with a cell for each of them."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def cell(value: str | Line, *below: str | Line) -> Cell:
    """The value, and what belongs to it in small lines below; empty lines are left out.

    >>> cell("0.53", "0.33 [0.32, 0.34]", "")
    (Line(text='0.53', look='', aside=''), Line(text='0.33 [0.32, 0.34]', look='small', aside=''))
    """
    return tuple(_lines(value, below))


def _lines(value: str | Line, below: Sequence[str | Line]) -> Iterator[Line]:
    yield value if isinstance(value, Line) else Line(value)
    for line in below:
        if isinstance(line, Line):
            yield line
        elif line:
            yield Line(line, "small")


def words(title: str, *below: str | Line) -> Column:
    """A column of words, to the left."""
    return Column(cell(title, *below), "left")


def figures(title: str, *below: str | Line, always: bool = True, narrowest: int | None = None) -> Column:
    """A column of figures, to the right."""
    return Column(cell(title, *below), "right", always, narrowest)
