"""Destinations of output, which can be put in front of each other: a descriptor, the last lines, lines with labels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Protocol

#: A line that is longer, in bytes, is passed on in pieces.
LONGEST_LINE = 1024 * 1024


class Sink(Protocol):
    """Takes the bytes of one stream."""

    def write(self, data: bytes) -> None:
        """Take further bytes."""

    def flush(self) -> None:
        """Pass on all complete lines, because the reader has everything that was written up to now."""

    def finish(self) -> None:
        """Pass on an incomplete line, because an attempt has ended."""


class Descriptor:
    """Writes every byte to a file at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: True if the next byte begins a line.
        self.at_line_start = True

    def write(self, data: bytes) -> None:
        """Take further bytes."""
        if data:
            self._file.write(data)
            self.at_line_start = data.endswith(b"\n")

    def flush(self) -> None:
        """Pass on what is complete."""
        self._file.flush()

    def finish(self) -> None:
        """Pass on the rest."""
        self._file.flush()


class Lines:
    """Cuts bytes into lines for a method of a subclass, and passes lines on to another sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take further bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.take(line + b"\n")
        if len(self._rest) > LONGEST_LINE:
            self.take(self._rest)
            self._rest = b""

    def flush(self) -> None:
        """Pass on what is complete."""
        self._sink.flush()

    def finish(self) -> None:
        """Pass on the rest."""
        if self._rest:
            self.take(self._rest)
            self._rest = b""
        self._sink.finish()

    def take(self, line: bytes) -> None:
        """Take one line with its newline, which only the last line of an attempt and pieces of long lines lack."""
        self._sink.write(line)


class Tail(Lines):
    """Passes on the last lines of what is there when it is flushed for the first time, and then every byte."""

    def __init__(self, sink: Sink, count: int) -> None:
        super().__init__(sink)
        self._kept: deque[bytes] | None = deque(maxlen=count)

    def write(self, data: bytes) -> None:
        """Take further bytes."""
        if self._kept is None:
            self._sink.write(data)
        else:
            super().write(data)

    def take(self, line: bytes) -> None:
        """Pass on a line."""
        if self._kept is not None:
            self._kept.append(line)

    def flush(self) -> None:
        """Pass on what is complete."""
        if self._kept is not None:
            if self._rest:
                self._kept.append(self._rest)
                self._rest = b""
            self._sink.write(b"".join(self._kept))
            self._kept = None
        super().flush()

    def finish(self) -> None:
        """Pass on the rest."""
        self.flush()
        super().finish()


class Labelled(Lines):
    """Puts a label before each line. Lines of several tasks in one terminal never mix."""

    def __init__(self, sink: Sink, label: Callable[[], str]) -> None:
        super().__init__(sink)
        self._label = label

    def take(self, line: bytes) -> None:
        """Pass on a line."""
        end = b"" if line.endswith(b"\n") else b"\n"
        self._sink.write(self._label().encode() + line + end)


class Headed:
    """Writes a heading on a separate line before the first byte."""

    def __init__(self, sink: Sink, heading: str, before: Descriptor) -> None:
        """`before` is the sink that was used before this one, in the same terminal."""
        self._sink, self._heading, self._before = sink, heading, before

    def write(self, data: bytes) -> None:
        """Take further bytes."""
        if data and self._heading:
            start = "" if self._before.at_line_start else "\n"
            self._sink.write(f"{start}{self._heading}\n".encode())
            self._heading = ""
        self._sink.write(data)

    def flush(self) -> None:
        """Pass on what is complete."""
        self._sink.flush()

    def finish(self) -> None:
        """Pass on the rest."""
        self._sink.finish()
