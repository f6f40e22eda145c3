"""Decode a piece of a file that may end within a character."""

from __future__ import annotations

import codecs

#: The size of the largest UTF-8 character, in bytes. With a smaller limit, a reader could never read such a character.
LONGEST_CHARACTER = 4


def decode_piece(data: bytes, final: bool) -> tuple[str, int]:
    """Return the text, and the size of an incomplete character at the end, which the next piece will repeat."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    incomplete, _flags = decoder.getstate()
    return text, len(incomplete)


def from_next_character(data: bytes) -> bytes:
    """Return the data without the end of a character at its start."""
    end = data[: LONGEST_CHARACTER - 1]
    return data[len(end) - len(end.lstrip(bytes(range(0x80, 0xC0)))) :]
