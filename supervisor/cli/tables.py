"""Aligned columns, and colours where somebody sees them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

#: How a status looks.
COLOURS = {"pending": "33", "running": "36", "completed": "32", "error": "31", "cancelled": "35"}
FAINT, BOLD = "2", "1"

#: What stands between two columns.
GAP = "  "


class Cell(NamedTuple):
    """A text and its colour (the number of an ANSI sequence)."""

    text: str
    colour: str = ""


Row = Sequence[Cell | str]


def coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there: on a terminal, unless NO_COLOR is set."""
    dull = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not dull


def width_of(stream: TextIO) -> int | None:
    """The columns of a terminal; None where lines may be as long as they are."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def status_cell(status: str, text: str | None = None) -> Cell:
    """A status in its colour."""
    return Cell(text or status, COLOURS.get(status, ""))


def table(head: Sequence[str], rows: Iterable[Row], stream: TextIO) -> str:
    """Aligned lines, each ended; a column in which nothing stands is left out."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    cells = [[Cell(clean(text), colour) for text, colour in row] for row in cells]
    used = [column for column in range(len(head)) if any(row[column].text for row in cells)]
    lines = [
        [Cell(head[column], BOLD) for column in used],
        *([row[column] for column in used] for row in cells),
    ]
    widths = [max(columns(line[place].text) for line in lines) for place in range(len(used))]
    painted = coloured(stream)
    return "".join(_line(line, widths, width_of(stream), painted) + "\n" for line in lines)


def fields(pairs: Iterable[tuple[str, Cell | str]], stream: TextIO) -> str:
    """Names and values, a line each; what goes on over several lines is indented."""
    known = [(name, value if isinstance(value, Cell) else Cell(value)) for name, value in pairs]
    widest = max((len(name) for name, _ in known), default=0)
    painted = coloured(stream)
    return "".join(_field(name, value, widest, painted) for name, value in known)


def clean(text: str) -> str:
    """One line, without what would move the cursor or ring the bell."""
    words = " ".join(text.split()) if not text.isprintable() else text
    return words if words.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in words)


def columns(text: str) -> int:
    """How wide a text is on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def paint(cell: Cell, painted: bool) -> str:
    """A text in its colour, where there are colours."""
    return f"\x1b[{cell.colour}m{cell.text}\x1b[0m" if painted and cell.colour else cell.text


def _line(line: Sequence[Cell], widths: Sequence[int], most: int | None, painted: bool) -> str:
    *firsts, last = zip(line, widths, strict=True) if line else [(Cell(""), 0)]
    text = "".join(paint(cell, painted) + " " * (width - columns(cell.text)) + GAP for cell, width in firsts)
    taken = sum(width + len(GAP) for _, width in firsts)
    room = None if most is None else max(most - taken, 8)
    return (text + paint(Cell(cut(last[0].text, room), last[0].colour), painted)).rstrip()


def cut(text: str, room: int | None) -> str:
    """A text that fits into so many columns."""
    if room is None or columns(text) <= room:
        return text
    while columns(text) > room - 1:
        text = text[: -max(1, (columns(text) - room) // 2)]
    return text + "…"


def _field(name: str, value: Cell, widest: int, painted: bool) -> str:
    first, *rest = list(_safe_lines(value.text)) or [""]
    start = paint(Cell(name, FAINT), painted) + " " * (widest - len(name)) + GAP
    indent = " " * widest + GAP
    lines = [start + paint(Cell(first, value.colour), painted), *(indent + line for line in rest)]
    return "".join(line.rstrip() + "\n" for line in lines)


def _safe_lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        tabless = line.expandtabs(8)
        yield tabless if tabless.isprintable() else "".join(c if c.isprintable() else "�" for c in tabless)
