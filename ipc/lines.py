"""Cut a stream of bytes into lines. This does no I/O and keeps at most one line in memory."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import BackburnerError

#: The longest line that a process accepts from another process, in bytes, without the newline.
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
        """Add the next bytes of the stream. After a line that was too long, all bytes are ignored."""
        if not self._broken:
            self._buffer += data

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines, without their newlines. If the iteration is stopped, the next call continues there.

        Raises:
            LineTooLong: A line is over the limit, even if its end has not arrived. All later calls raise it, too.
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
