"""Lines in a stream of bytes: no I/O, and no more memory than one line takes."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import BackburnerError

#: The longest line that a process takes from another one, without its newline, in bytes.
MAX_LINE = 1024 * 1024


class LineTooLong(BackburnerError):
    """A line is longer than allowed."""

    rpc_code = -32600

    def __init__(self, limit: int) -> None:
        super().__init__(f"A line is longer than {limit} bytes.")


class LineReader:
    """Cuts a stream of bytes into lines of at most `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._broken = False

    def feed(self, data: bytes) -> None:
        """Take more of the stream. After a line that was too long, everything is ignored."""
        if not self._broken:
            self._buffer += data

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines, without their newlines. The iteration may stop and be resumed by another call.

        Raises LineTooLong, and from then on always, as soon as a line is over the limit, ended or not.
        """
        while (line := self._next()) is not None:
            yield line

    def _next(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if self._broken or (len(self._buffer) if end < 0 else end) > self._limit:
            self._give_up()
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _give_up(self) -> None:
        self._broken = True
        self._buffer.clear()
        self._searched = 0
        raise LineTooLong(self._limit)
