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

#: The minimum width to which the last column is cut.
NARROWEST = 8


class Cell(NamedTuple):
    """A text and its colour (the number of an ANSI sequence)."""

    text: str
    colour: str = ""


Row = Sequence[Cell | str]


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


def format_table(head: Sequence[str], rows: Iterable[Row], stream: TextIO) -> str:
    """Return aligned lines. A column without any text is left out."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    cells = [[Cell(sanitize(text), colour) for text, colour in row] for row in cells]
    used = [column for column in range(len(head)) if any(row[column].text for row in cells)]
    lines = [
        [Cell(head[column], BOLD) for column in used],
        *([row[column] for column in used] for row in cells),
    ]
    widths = [max(display_width(line[column].text) for line in lines) for column in range(len(used))]
    colours = uses_colours(stream)
    return "".join(_line(line, widths, terminal_width(stream), colours) + "\n" for line in lines)


def format_fields(pairs: Iterable[tuple[str, Cell | str]], stream: TextIO) -> str:
    """Return names and values, one pair a line. Further lines of a value are indented."""
    fields = [(name, value if isinstance(value, Cell) else Cell(value)) for name, value in pairs]
    widest = max((len(name) for name, _ in fields), default=0)
    colours = uses_colours(stream)
    return "".join(_field(name, value, widest, colours) for name, value in fields)


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
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def paint(cell: Cell, colours: bool) -> str:
    """Return a cell's text, in its colour if there are colours."""
    return f"\x1b[{cell.colour}m{cell.text}\x1b[0m" if colours and cell.colour else cell.text


def truncate(text: str, width: int | None) -> str:
    """Return a text cut to this number of columns. None means no limit."""
    if width is None or display_width(text) <= width:
        return text
    while display_width(text) > width - 1:
        text = text[: -max(1, (display_width(text) - width) // 2)]
    return text + "…"


def _line(line: Sequence[Cell], widths: Sequence[int], terminal: int | None, colours: bool) -> str:
    *firsts, last = zip(line, widths, strict=True) if line else [(Cell(""), 0)]
    text = "".join(paint(cell, colours) + " " * (width - display_width(cell.text)) + GAP for cell, width in firsts)
    taken = sum(width + len(GAP) for _, width in firsts)
    room = None if terminal is None else max(terminal - taken, NARROWEST)
    return (text + paint(Cell(truncate(last[0].text, room), last[0].colour), colours)).rstrip()


def _field(name: str, value: Cell, widest: int, colours: bool) -> str:
    first, *rest = list(_printable_lines(value.text)) or [""]
    start = paint(Cell(name, FAINT), colours) + " " * (widest - len(name)) + GAP
    indent = " " * widest + GAP
    lines = [start + paint(Cell(first, value.colour), colours), *(indent + line for line in rest)]
    return "".join(line.rstrip() + "\n" for line in lines)


def _printable_lines(text: str) -> Iterator[str]:
    return (_printable(line.expandtabs(8)) for line in text.split("\n"))


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in line)
