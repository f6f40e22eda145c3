"""Signals as events of a selector. The interpreter writes a byte to a pipe, and the loop reacts to it."""

from __future__ import annotations

import os
import selectors
import signal
import threading
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


class TimeLimitExceeded(Exception):
    """A block took longer than allowed."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitExceeded` within the block after this time. Only the main thread has a limit.

    The search for a regular expression looks for signals, so that it can be interrupted, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_active = True

    def interrupt(_number: int, _frame: object) -> None:
        if is_active:
            raise TimeLimitExceeded

    former = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        is_active = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def restore_default(*numbers: signal.Signals) -> None:
    """Restore the default action of these signals."""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
