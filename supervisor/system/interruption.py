"""The signals that end a command in the foreground."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

#: `signal.SIG_IGN`.
_SIG_IGN = 1


class Signalled(KeyboardInterrupt):
    """A signal has arrived that ends a command, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        #: The number of the signal.
        self.number = number


class Interruption:
    """The signals that end a command. They are raised only where nothing is left half done, as in a wait."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._kept: dict[int, Any] = {}
        self._arrived: int | None = None
        self._is_allowed = False

    def __enter__(self) -> Self:
        """Heed the signals within the block, except those that were ignored before."""
        import signal  # every command imports this module

        self._kept = {number: signal.getsignal(number) for number in self._numbers}
        for number in self._heeded():
            signal.signal(number, self._handle)
        _current.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the former actions."""
        import signal

        _current.remove(self)
        for number in self._heeded():
            signal.signal(number, self._kept[number] or signal.SIG_DFL)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Raise `Signalled` if a signal arrives within the block, or has arrived before it."""
        self._is_allowed = True
        try:
            self._raise_if_arrived()
            yield
        finally:
            self._is_allowed = False

    def _heeded(self) -> list[int]:
        return [number for number, action in self._kept.items() if action != _SIG_IGN]

    def _handle(self, number: int, _frame: object) -> None:
        self._arrived = number
        if self._is_allowed:
            self._raise_if_arrived()

    def _raise_if_arrived(self) -> None:
        number, self._arrived = self._arrived, None
        if number is not None:
            self._is_allowed = False
            raise Signalled(number)


#: The interruption of the command that this process runs.
_current: list[Interruption] = []


def interruptible() -> AbstractContextManager[None]:
    """Allow the interruption of this process's command within the block, if there is one: it may block."""
    return _current[-1].allowed() if _current else nullcontext()
