"""Charts as a PNG file, made by the standard library: a panel for each curve, a bar for each ratio, with titles."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

#: Glyphs of three by five dots: five digits, each with the three bits of a row.
GLYPHS = dict(
    (entry[0], entry[2:])
    for entry in (
        "0=75557 1=26227 2=71747 3=71717 4=55711 5=74717 6=74757 7=71222 "
        "8=75757 9=75717 A=25755 B=65656 C=34443 D=65556 "
        "E=74647 F=74644 G=34553 H=55755 I=72227 J=11152 "
        "K=55655 L=44447 M=57755 N=65555 O=25552 P=65644 Q=25563 R=65655 "
        "S=34216 T=72222 U=55557 V=55552 W=55775 X=55255 Y=55222 Z=71247 "
        ".=00002 ,=00024 -=00700 /=11244 :=02020 %=51245 <=12421 >=42124 ==07070"
    ).split()
)

WIDTH, HEIGHT, MARGIN, SCALE = 900, 120, 8, 2
INK, PAPER, CURVE, RULE = (30, 30, 30), (255, 255, 255), (200, 60, 20), (225, 225, 225)
GOOD, ROW = (60, 140, 60), 40

Colour = tuple[int, int, int]


class Chart:
    """An image to which panels are appended below each other."""

    def __init__(self) -> None:
        self._rows: list[bytearray] = []

    def panel(self, title: str, values: Sequence[float]) -> None:
        """Draw a curve from zero to a little above its largest value."""
        top = len(self._rows)
        self._rows += [bytearray(bytes(PAPER) * WIDTH) for _ in range(HEIGHT)]
        self._text(MARGIN, top + 4, title.upper())
        low, high = top + HEIGHT - MARGIN, top + 22
        for part in range(5):
            self._line((MARGIN, low - (low - high) * part // 4), (WIDTH - MARGIN, low - (low - high) * part // 4), RULE)
        most = max([*values, 1e-9]) * 1.05
        step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
        points = [
            (round(MARGIN + step * place), round(low - (low - high) * value / most))
            for place, value in enumerate(values)
        ]
        for start, end in pairwise(points):
            self._line(start, end, CURVE)

    def bar(self, title: str, value: float, mark: float, met: bool) -> None:
        """Draw a ratio as a bar, with the goal as a mark in the middle."""
        top = len(self._rows)
        self._rows += [bytearray(bytes(PAPER) * WIDTH) for _ in range(ROW)]
        self._text(MARGIN, top + 4, title.upper())
        length = min(WIDTH - 2 * MARGIN, round(WIDTH / 2 * value / mark))
        for line in range(top + 20, top + ROW - 8):
            self._line((MARGIN, line), (MARGIN + length, line), GOOD if met else CURVE)
        self._line((MARGIN + WIDTH // 2, top + 16), (MARGIN + WIDTH // 2, top + ROW - 4), INK)

    def save(self, path: Path) -> None:
        """Write the file. Raises OSError."""
        raw = b"".join(b"\0" + bytes(row) for row in self._rows)
        head = struct.pack("!IIBBBBB", WIDTH, len(self._rows), 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks))

    def _dot(self, x: int, y: int, colour: Colour) -> None:
        if 0 <= y < len(self._rows) and 0 <= x < WIDTH:
            self._rows[y][3 * x : 3 * x + 3] = bytes(colour)

    def _line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        count = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for place in range(count + 1):
            x = start[0] + (end[0] - start[0]) * place // count
            self._dot(x, start[1] + (end[1] - start[1]) * place // count, colour)

    def _text(self, x: int, y: int, text: str) -> None:
        for letter in text:
            for row, bits in enumerate(GLYPHS.get(letter, "00000")):
                self._bits(x, y + row * SCALE, int(bits))
            x += 4 * SCALE

    def _bits(self, x: int, y: int, bits: int) -> None:
        for column in (place for place in range(3) if bits & (4 >> place)):
            for dot in range(SCALE * SCALE):
                self._dot(x + column * SCALE + dot % SCALE, y + dot // SCALE, INK)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
