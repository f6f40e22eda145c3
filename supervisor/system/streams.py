"""The output of a command. An error of a write is not taken for an error of the state directory."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

from ...ipc.errors import OutputFailed
from .interruption import interruptible


class Output(io.RawIOBase):
    """Writes to another stream. Each byte is written before `write` returns."""

    def __init__(self, stream: BinaryIO | io.FileIO, name: str) -> None:
        """Write to `stream`, which errors call `name`."""
        super().__init__()
        self._stream, self._name = stream, name

    def write(self, data: Any, /) -> int | None:
        """Write some bytes, and return their number. Raises OutputFailed, BrokenPipeError."""
        with output_errors(self._name), interruptible():
            while (written := self._stream.write(data)) is None:  # another program has made it non-blocking
                _wait_until_writable(self._stream.fileno())
            self._stream.flush()
            return written

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return True if the other stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the other stream. Raises OSError."""
        return self._stream.fileno()


def guarded(stream: TextIO, number: int, name: str) -> TextIO:
    """Return a text stream on the same descriptor, with errors that name it."""
    raw = Output(io.FileIO(number, "w", closefd=False), name)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=raw.isatty()
    )


def discard_output(number: int) -> None:
    """Let what is still buffered go to /dev/null, so that the exit of this process cannot fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def _wait_until_writable(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


@contextmanager
def output_errors(name: str) -> Iterator[None]:
    """Raise OutputFailed for errors of a write within the block, except if the reader has exited."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"cannot write to {name}: {error.strerror}") from error
