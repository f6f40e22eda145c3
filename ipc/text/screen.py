r"""Resolve the text of another program to what a terminal would show at the end.

A progress bar rewrites its line with `\r`, and a colour is an escape sequence. A message, a list or a notification
needs the last state of the line instead, and no character that controls the terminal or the model that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: The maximum number of characters that are resolved. Of a longer text, the end counts.
MAX_TEXT = 64 * 1024
#: The maximum number of columns to which a sequence moves the cursor.
MAX_COLUMN = 1000

#: Sequences: CSI, strings such as OSC up to their end, character sets, and other escapes.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]+[0-~]|\x1b[^\[\]PX^_]|\x1b"
)
_PIECE = re.compile(_SEQUENCE.pattern + r"|(?P<text>[^\x00-\x1f\x7f-\x9f]+)|(?P<control>[\x00-\x1f\x7f-\x9f])")


def screen_lines(text: str) -> list[str]:
    """Return the lines that a terminal shows at the end of the text, without the blank lines at the end."""
    lines = _resolved(text) if _needs_resolving(text) else _last_part(text).split("\n")
    shown = [_printable(line).rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return shown


def last_line(text: str) -> str:
    """Return the last line with text that a terminal shows, or an empty string."""
    return next(filter(None, map(str.strip, reversed(screen_lines(text)))), "")


def one_line(text: str, length: int | None = None) -> str:
    """Return the text on one line, as a terminal shows it at the end. A longer text is cut and ends in «…»."""
    line = text if text.isascii() and text.isprintable() else " ".join(screen_lines(text[:MAX_TEXT]))
    line = " ".join(line.split())
    return line if length is None or len(line) <= length else f"{line[: length - 1].rstrip()}…"


def _needs_resolving(text: str) -> bool:
    return any(control in text for control in "\r\b\t\x1b\x9b\x9d\x90\x98\x9e\x9f")


def _last_part(text: str) -> str:
    """Return the end of a long text, from the start of a line if there is one."""
    if len(text) <= MAX_TEXT:
        return text
    end = text[-MAX_TEXT:]
    return end[end.find("\n") + 1 :]


def _resolved(text: str) -> list[str]:
    screen = _Screen()
    for piece in _PIECE.finditer(_last_part(text)):
        if piece["text"]:
            screen.write(piece["text"])
        elif piece["control"]:
            screen.control(piece["control"])
        elif piece["final"]:
            screen.move(piece["final"], piece["arguments"])
    return ["".join(line) for line in screen.lines]


class _Screen:
    """The lines of a terminal without a limit of its width and height, and the cursor."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        line = self.lines[self._row]
        if self._column > len(line):
            line.extend(" " * (self._column - len(line)))
        for letter in text:
            if self._column and _joins(letter):
                line[self._column - 1] += letter
            else:
                line[self._column : self._column + 1] = [letter]
                self._column += 1

    def control(self, letter: str) -> None:
        if letter == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self.lines):
                self.lines.append([])
        elif letter == "\r":
            self._column = 0
        elif letter == "\b":
            self._column = max(0, self._column - 1)
        elif letter == "\t":
            self._column += 8 - self._column % 8

    def move(self, final: str, arguments: str) -> None:
        """Obey a sequence that moves the cursor or erases text. Others, such as colours, have no effect."""
        first = arguments.partition(";")[0]
        number = int(first) if first.isascii() and first.isdigit() and len(first) < 9 else 0
        if final in "ABEF":
            self._move_row(final, max(1, number))
        elif final in "CDG":
            self._move_column(final, max(1, number))
        elif final in "JK":
            self._erase(final, number)

    def _move_row(self, final: str, steps: int) -> None:
        row = self._row + (steps if final in "BE" else -steps)
        self._row = min(max(0, row), len(self.lines) - 1)
        if final in "EF":
            self._column = 0

    def _move_column(self, final: str, steps: int) -> None:
        start = {"C": self._column, "D": self._column, "G": -1}[final]
        self._column = min(max(0, start + (-steps if final == "D" else steps)), max(MAX_COLUMN, self._column))

    def _erase(self, final: str, number: int) -> None:
        line = self.lines[self._row]
        if final == "J" and number in (2, 3):  # programs that clear the screen begin again at its top
            self.lines, self._row, self._column = [[]], 0, 0
        elif number == 0:
            del line[self._column :]
            if final == "J":
                del self.lines[self._row + 1 :]
        elif number == 1 or final == "K":
            end = len(line) if number == 2 else min(self._column + 1, len(line))
            line[:end] = " " * end


def _joins(letter: str) -> bool:
    """Return True if a character is shown with the one before it."""
    if letter.isascii():
        return False
    from unicodedata import combining

    return bool(combining(letter)) or "\ufe00" <= letter <= "\ufe0f"


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(_shown(line))


def _shown(line: str) -> Iterator[str]:
    """Yield what is shown for each character: a blank for every kind of blank, nothing for controls and marks."""
    from unicodedata import category

    for letter in line:
        kind = category(letter)
        if letter.isprintable():
            yield letter
        elif kind in ("Zs", "Zl", "Zp"):
            yield " "
        elif kind not in ("Cc", "Cf"):
            yield "�"
