"""The standard streams of calls."""

from __future__ import annotations

import os
import sys
import traceback
from operator import attrgetter
from typing import Any

from .descriptors import STREAMS, file_id, move_descriptor

#: The folder of the runner's own modules.
_FOLDER = os.path.dirname(__file__) + "/"


class Streams:
    """`sys.stdin`, `sys.stdout`, `sys.stderr`, and the file behind descriptor 0."""

    def __init__(self) -> None:
        """Start with an empty stdin. Output is line-buffered, so that it can be followed while a call runs."""
        plain = ("utf-8", "strict"), ("utf-8", "strict"), ("utf-8", "backslashreplace")
        streams = (getattr(sys, name) for name in STREAMS)
        self._codecs = [
            (stream.encoding, stream.errors) if stream else codec for stream, codec in zip(streams, plain, strict=True)
        ]
        self._ours: dict[str, Any] = {}
        self._made: dict[str, tuple[object, ...]] = {}
        self._null: tuple[int, int] | None = None
        self._has_input = False
        self._read_from(os.devnull)
        for name in STREAMS:
            self._replace(name)

    def begin(self, stdin: str | None) -> None:
        """Use the file `stdin`, if it is given, as the stdin of the call. Raises OSError."""
        if stdin is not None:
            self._has_input = True
            self._read_from(stdin)
            self._replace("stdin")

    def flush(self) -> Exception | None:
        """Flush the output of the call. Return the first error."""
        failure = None
        for name in ("stdout", "stderr"):
            ours, current = self._ours[name], getattr(sys, name, None)
            for stream in (ours,) if current is ours else (current, ours):
                try:
                    if stream is not None and _is_open(stream):
                        stream.flush()
                except Exception as error:  # the call may have set the stream to any object
                    failure = failure or error
        return failure

    def print_error(self, error: BaseException) -> bool:
        """Print a traceback without the runner's frames. Return False if it could not be written."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_FOLDER):
            trace = trace.tb_next
        try:
            sys.stderr.write("".join(traceback.format_exception(type(error), error, trace)))
            sys.stderr.flush()
        except OSError:  # the journal has the error, too
            return False
        return True

    def restore(self, *, is_suspect: bool) -> None:
        """Restore the streams, so that the next call cannot read the input of the last one."""
        if self._has_input or (is_suspect and file_id(0) != self._null):
            self._read_from(os.devnull)
            self._replace("stdin")
            self._has_input = False
        for name, ours in self._ours.items():
            if getattr(sys, name, None) is not ours or not self._is_as_made(name, ours):
                self._replace(name)

    def _is_as_made(self, name: str, stream: Any) -> bool:
        try:
            return bool(_state_of(stream) == self._made[name])
        except ValueError:  # detached from its buffer
            return False

    def _read_from(self, path: str) -> None:
        # opening a pipe must not wait for a writer: the input may have ended already
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
        move_descriptor(descriptor, 0)
        self._null = file_id(0) if path == os.devnull else self._null

    def _replace(self, name: str) -> None:
        target = STREAMS.index(name)
        encoding, errors = self._codecs[target]
        mode = "w" if target else "r"
        # closing the stream must not free the number of the descriptor
        made = open(target, mode, buffering=1, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        self._ours[name] = made
        self._made[name] = _state_of(made)
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


#: The attributes of a text stream that a call may change.
_state_of = attrgetter("closed", "encoding", "errors", "line_buffering")


def _is_open(stream: Any) -> bool:
    try:
        return not stream.closed
    except AttributeError:  # any object
        return hasattr(stream, "flush")
    except ValueError:  # detached from its buffer
        return False
