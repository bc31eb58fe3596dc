"""A table, independent of where it is drawn: terminal and page share its columns and cells."""

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
        text: unescaped; escaped where it is drawn.
        look: its style.
        aside: text that only a page adds, which has room.
    """

    text: str
    look: Look = ""
    aside: str = ""


Cell = tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column's title, with a line for each line of its cells.

    Args:
        side: alignment of cells and title.
        always: also shown in a narrow terminal.
        narrowest: least width in a terminal, in characters.
    """

    title: Cell
    side: Literal["left", "right"]
    always: bool = True
    narrowest: int | None = None


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        tag: a label beside its first word.
        chosen: the verdict, if this row is the chosen file.
        ends_group: draw a line below it.
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
    """A cell of a value and small lines below it; empty lines are left out.

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
    """A left-aligned column."""
    return Column(cell(title, *below), "left")


def figures(title: str, *below: str | Line, always: bool = True, narrowest: int | None = None) -> Column:
    """A right-aligned column."""
    return Column(cell(title, *below), "right", always, narrowest)
