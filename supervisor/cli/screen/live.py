"""A picture on a terminal that is redrawn in place. It leaves the text before it, and the scrollback, as they are."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Self

#: The sequences that switch to the alternate screen and hide the cursor, and the reverse.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[H", "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

#: The size of a terminal that does not know its own.
DEFAULT_SIZE = os.terminal_size((80, 24))


class _Interrupted(Exception):
    """A wait is over, because the terminal has changed or a key was pressed."""


class LiveScreen:
    """The alternate screen of the terminal on stdout. The key `q` closes it."""

    def __init__(self) -> None:
        self.closed = False
        self._waits = False
        self._handlers: dict[signal.Signals, Any] = {}
        self._mode: list[Any] | None = None

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGWINCH, self._interrupt),
            (signal.SIGCONT, self._continue),
            (signal.SIGTSTP, self._suspend),
            (signal.SIGTERM, self._terminate),
            (signal.SIGHUP, self._terminate),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self._start()
        if self._mode is not None:
            threading.Thread(target=self._read_keys, name="keys", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the terminal."""
        with suppress(OSError):  # the terminal is gone
            self._stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def size(self) -> os.terminal_size:
        """The size of the terminal now."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return DEFAULT_SIZE
        return size if size.columns and size.lines else DEFAULT_SIZE

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the picture by these lines, of which those that fit the height are shown."""
        fitting = lines[: self.size.lines]
        picture = "\n".join(f"{line}{_END_OF_LINE}" for line in fitting)
        sys.stdout.write(f"{_HOME}{picture}{_END_OF_SCREEN}")
        sys.stdout.flush()

    def wait(self, wait: Callable[[float], object], seconds: float) -> None:
        """Call `wait(seconds)`. A key, or a new size of the terminal, ends the call early."""
        try:
            self._waits = not self.closed
            if self._waits:
                wait(seconds)
        except _Interrupted:
            pass
        finally:
            self._waits = False

    def _start(self) -> None:
        with suppress(OSError, ValueError, termios.error):  # stdin is not this terminal, or a background job
            if os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
                self._mode = self._mode or termios.tcgetattr(sys.stdin.fileno())
                tty.setcbreak(sys.stdin.fileno())
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _stop(self) -> None:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if self._mode is not None:
            with suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._mode)

    def _read_keys(self) -> None:
        with suppress(OSError):
            while keys := os.read(sys.stdin.fileno(), 64):
                if b"q" in keys.lower():
                    self.closed = True
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGWINCH)
                    return

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._waits:
            self._waits = False
            raise _Interrupted

    def _continue(self, number: int, frame: FrameType | None) -> None:
        self._start()
        self._interrupt(number, frame)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Show the terminal as it was before, and stop like a program that does not handle Ctrl-Z."""
        self._stop()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)

    def _terminate(self, number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)
