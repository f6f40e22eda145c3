"""Draws a recording of a plain terminal as an SVG in which lines appear as recorded, with shorter pauses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

#: The pixels of a character, of a line, and of the margin.
WIDE, HIGH, MARGIN = 8, 18, 12
#: The longest pause in seconds.
LONGEST_PAUSE = 1.5

#: Control sequences, which are not text.
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<>]*[A-Za-z]|\][^\x07]*\x07|[()].|[78])|[\r\x0f]")

HEAD = """<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width} {height}" width="{width}">
<style>text{{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#d8dee9;white-space:pre}}.c{{fill:#a3be8c}}</style>
<rect width="100%" height="100%" rx="6" fill="#1e222a"/>
"""
LINE = (
    '<text class="{kind}" x="{x}" y="{y}" textLength="{length}">{text}'
    '<set attributeName="visibility" to="hidden" begin="0s" dur="{at}s"/></text>\n'
)


def draw(recording: Sequence[tuple[float, str]], columns: int) -> str:
    """Return the drawing of a recording: pieces of output, each with its time in seconds."""
    lines = [piece for when, text in _lines(recording) for piece in _folded(when, text, columns)]
    head = HEAD.format(width=columns * WIDE + 2 * MARGIN, height=len(lines) * HIGH + 2 * MARGIN)
    return head + "".join(_line(row, *line) for row, line in enumerate(lines) if line[1]) + "</svg>\n"


def _lines(recording: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Yield whole lines, each with the time at which it was complete."""
    now = before = 0.0
    line = ""
    for when, text in recording:
        now, before = now + min(when - before, LONGEST_PAUSE), when
        line += ESCAPES.sub("", text)
        if line.endswith("\n"):
            yield now, line.rstrip()
            line = ""
    if line.strip("$ "):
        yield now, line


def _folded(when: float, text: str, columns: int) -> Iterator[tuple[float, str]]:
    yield when, text[:columns]
    for start in range(columns, len(text), columns):
        yield when, text[start : start + columns]


def _line(row: int, when: float, text: str) -> str:
    kind = "c" if text.startswith("$ ") else "o"
    place = {"x": MARGIN, "y": MARGIN + row * HIGH + 13, "length": len(text) * WIDE}
    return LINE.format(kind=kind, text=escape(text), at=round(when, 2), **place)
