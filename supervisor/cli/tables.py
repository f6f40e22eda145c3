"""Aligned columns, with colours on a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

#: The colour of each status (numbers of ANSI sequences).
COLOURS = {"pending": "33", "running": "36", "completed": "32", "error": "31", "cancelled": "35"}
FAINT, BOLD, YELLOW = "2", "1", "33"


#: The separator of two columns.
GAP = "  "

#: More than any width.
FIXED = 10**6

#: Columns with this rank or a higher one are left out before another column is cut below its comfortable width.
COSMETIC, COMFORTABLE = 6, 18

#: The width below which no column is cut, and the same for the main column.
NARROWEST, NARROWEST_MAIN = 3, 8


class Cell(NamedTuple):
    """A text and its colour (the number of an ANSI sequence)."""

    text: str
    colour: str = ""


Row = Sequence[Cell | str]


class Column(NamedTuple):
    """A column of a table.

    On a narrow terminal a column is cut down to `minimum`. Columns with a `rank` are left out, the highest first.
    The main column keeps the width `wanted`, as far as that is possible, and gets the room that others leave.
    """

    head: str
    minimum: int = 8
    rank: int = 0
    wanted: int | None = None
    keeps_empty: bool = False


def uses_colours(stream: TextIO) -> bool:
    """Return True if the stream is a terminal with colours and NO_COLOR is not set."""
    disabled = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not disabled


def terminal_width(stream: TextIO) -> int | None:
    """Return the number of columns of a terminal, or None for other streams: their lines are not cut."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def status_cell(status: str, text: str | None = None) -> Cell:
    """Return a status, or another text in the status's colour."""
    return Cell(text or status, COLOURS.get(status, ""))


class Look(NamedTuple):
    """The columns of a terminal (None: there is no limit), and True if it has colours."""

    room: int | None
    colours: bool

    @classmethod
    def of(cls, stream: TextIO) -> Look:
        """Return the look of output on a stream."""
        return cls(terminal_width(stream), uses_colours(stream))


def format_table(head: Sequence[Column | str], rows: Iterable[Row], stream: TextIO) -> str:
    """Return aligned lines that fit the terminal, if the stream is one. A column without any text is left out."""
    return "".join(f"{line}\n" for line in table_lines(head, rows, Look.of(stream)))


def table_lines(head: Sequence[Column | str], rows: Iterable[Row], look: Look) -> list[str]:
    """Return aligned lines that fit. If no column has a `wanted` width, the last one is the main column."""
    columns = [name if isinstance(name, Column) else Column(name) for name in head]
    cells = [[_clean(cell, look.room) for cell in row] for row in rows]
    widths = [_natural(column, [row[index] for row in cells]) for index, column in enumerate(columns)]
    if look.room is not None:
        if columns and all(column.wanted is None for column in columns):
            columns[-1] = columns[-1]._replace(wanted=max(20, look.room * 2 // 5))
        widths = fit(columns, widths, look.room)
    used = [index for index, width in enumerate(widths) if width]
    head_cells = [Cell(column.head, BOLD) for column in columns]
    return [_line([(row[index], widths[index]) for index in used], look.colours) for row in (head_cells, *cells)]


def _natural(column: Column, cells: Sequence[Cell]) -> int:
    """Return the width of a column, or 0 if all of its cells are empty."""
    width = max((display_width(cell.text) for cell in cells), default=0)
    return max(width, len(column.head)) if width or column.keeps_empty else 0


def _clean(cell: Cell | str, room: int | None) -> Cell:
    """Return a cell on one line. Of a text that is much longer than the terminal is wide, the start is enough."""
    text, colour = cell if isinstance(cell, Cell) else Cell(cell)
    line = sanitize(text)
    return Cell(line if room is None else line[: 4 * room], colour)


def format_fields(pairs: Iterable[tuple[str, Cell | str]], stream: TextIO) -> str:
    """Return names and values, one pair a line. Further lines of a value are indented, and long ones are wrapped."""
    fields = [(name, value if isinstance(value, Cell) else Cell(value)) for name, value in pairs]
    widest = max((len(name) for name, _ in fields), default=0)
    look = Look.of(stream)
    return "".join(_field(name, value, widest, look) for name, value in fields)


def sanitize(text: str) -> str:
    """Return a text on one line, without characters that control a terminal."""
    if text.isprintable():
        return text
    from ...ipc.text.screen import one_line

    return one_line(text)


def display_width(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_letter_width, text))


def paint(cell: Cell, colours: bool) -> str:
    """Return a cell's text, in its colour if there are colours."""
    return f"\x1b[{cell.colour}m{cell.text}\x1b[0m" if colours and cell.colour else cell.text


def truncate(text: str, width: int | None) -> str:
    """Return a text cut to this number of columns. None means no limit."""
    if width is None or display_width(text) <= width:
        return text
    taken = 0
    for index, letter in enumerate(text):
        taken += _letter_width(letter)
        if taken >= width:
            return text[:index] + "…"
    return text


def _letter_width(letter: str) -> int:
    if letter.isascii():
        return 1
    from unicodedata import category, east_asian_width

    if letter == "\ufe0f":  # it turns the character before it, of one column, into a picture of two
        return 1
    if category(letter) in ("Mn", "Me", "Cf") or "\u1160" <= letter <= "\u11ff":
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1


def _line(cells: Sequence[tuple[Cell, int]], colours: bool) -> str:
    texts = [(truncate(cell.text, width), cell.colour, width) for cell, width in cells]
    return GAP.join(
        paint(Cell(text, colour), colours) + " " * (width - display_width(text)) for text, colour, width in texts
    ).rstrip()


def _field(name: str, value: Cell, widest: int, look: Look) -> str:
    indent = " " * widest + GAP
    room = None if look.room is None else max(NARROWEST_MAIN, look.room - len(indent))
    first, *rest = [part for line in _printable_lines(value.text) for part in _wrapped(line, room)] or [""]
    start = paint(Cell(name, FAINT), look.colours) + " " * (widest - len(name)) + GAP
    lines = [start + paint(Cell(first, value.colour), look.colours), *(indent + line for line in rest)]
    return "".join(line.rstrip() + "\n" for line in lines)


def _wrapped(line: str, room: int | None) -> list[str]:
    """Return a line in parts that fit. Words such as paths and IDs stay whole."""
    if room is None or display_width(line) <= room:
        return [line]
    from textwrap import wrap

    return wrap(line, room, break_long_words=False, break_on_hyphens=False, drop_whitespace=True)


def _printable_lines(text: str) -> Iterator[str]:
    return (_printable(line.expandtabs(8)) for line in text.split("\n"))


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in line)


def fit(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Return the width of each column. It is 0 for a column that is left out. `widths` are those of the texts."""
    shown = [index for index, width in enumerate(widths) if width]
    _leave_out(columns, shown, _least(columns, widths, COMFORTABLE), room, COSMETIC)
    least = _least(columns, widths, 0)
    _leave_out(columns, shown, least, room, 1)
    found = [width if index in shown else 0 for index, width in enumerate(least)]
    _squeeze(columns, found, room)
    _grow(columns, widths, found, room - _total(shown, found))
    return found


def _leave_out(columns: Sequence[Column], shown: list[int], widths: Sequence[int], room: int, rank: int) -> None:
    """Leave out columns with this rank or a higher one until the others fit."""
    ranked = sorted((index for index in shown if columns[index].rank >= rank), key=lambda index: columns[index].rank)
    while ranked and _total(shown, widths) > room:
        shown.remove(ranked.pop())


def _least(columns: Sequence[Column], widths: Sequence[int], comfort: int) -> list[int]:
    """Return the widths to which the columns may be cut. A column that is not the main one keeps this comfort."""
    return [
        min(width, max(column.minimum, comfort) if column.wanted is None else column.wanted)
        for column, width in zip(columns, widths, strict=True)
    ]


def _total(shown: Iterable[int], widths: Sequence[int]) -> int:
    shown = list(shown)
    return sum(widths[index] for index in shown) + len(GAP) * max(0, len(shown) - 1)


def _squeeze(columns: Sequence[Column], widths: list[int], room: int) -> None:
    """Cut the main column, then the widest columns, until they fit, or until nothing more can be cut."""
    shown = [index for index, width in enumerate(widths) if width]
    over = _total(shown, widths) - room
    for index in (index for index in shown if columns[index].wanted is not None):
        cut = min(over, widths[index] - NARROWEST_MAIN)
        if cut > 0:
            widths[index], over = widths[index] - cut, over - cut
    while over > 0 and shown and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
        over -= 1


def _grow(columns: Sequence[Column], natural: Sequence[int], widths: list[int], spare: int) -> None:
    """Give the spare room to the columns that are cut: the narrowest first, the main column last."""
    while spare > 0:
        cut = [index for index, width in enumerate(widths) if 0 < width < natural[index]]
        if not cut:
            return
        narrowest = min(cut, key=lambda index: (columns[index].wanted is not None, widths[index]))
        widths[narrowest] += 1
        spare -= 1
