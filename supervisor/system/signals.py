"""Signals as events of a selector. The interpreter writes a byte to a pipe, and the loop reacts to it."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

#: The signals that roles react to. They are blocked around a fork, so that none reaches the pipe of the wrong process.
OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """The signals that one process reacts to, each with an action that the loop calls."""

    def __init__(self, selector: selectors.BaseSelector, actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self._actions = dict(actions)
        self.reader, writer = os.pipe()
        for end in (self.reader, writer):
            os.set_blocking(end, False)
        for number in actions:
            signal.signal(number, _wake)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        selector.register(self.reader, selectors.EVENT_READ, lambda _mask: self.handle())

    def handle(self) -> None:
        """Call the actions of the signals that have arrived since the last call."""
        for number in dict.fromkeys(os.read(self.reader, 4096)):
            if number in self._actions:
                self._actions[signal.Signals(number)]()


def _wake(_number: int, _frame: object) -> None:
    """Do nothing, since the interpreter has written the byte that wakes the loop."""


def hold_back() -> None:
    """Block signals while a process forks and its child sets itself up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def let_through() -> None:
    """Unblock signals, and deliver the signals that arrived while they were blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)


class Signalled(KeyboardInterrupt):
    """A signal has arrived that ends a command, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        #: The number of the signal.
        self.number = number


@contextmanager
def raised(*numbers: signal.Signals) -> Iterator[None]:
    """Raise `Signalled` within the block when one of these signals arrives, unless it was ignored before."""
    kept = {number: signal.getsignal(number) for number in numbers}
    heeded = [number for number, action in kept.items() if action is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, kept[number] or signal.SIG_DFL)


def _raise(number: int, _frame: object) -> None:
    raise Signalled(number)


def restore_default(*numbers: signal.Signals) -> None:
    """Restore the default action of these signals."""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
