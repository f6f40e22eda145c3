"""Signals as things to wait for: the handler does nothing, a byte in a pipe wakes the loop, the loop decides."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Mapping

#: What a role of ours may be sent; held back around a fork, so that none goes to the wrong process's pipe.
OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """The signals one process reacts to, each with what is done, in the loop, when it came."""

    def __init__(self, selector: selectors.BaseSelector, actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Have `selector` wake when one of these arrives."""
        self._actions = dict(actions)
        self.reader, writer = os.pipe()
        for end in (self.reader, writer):
            os.set_blocking(end, False)
        for number in actions:
            signal.signal(number, _wake)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        selector.register(self.reader, selectors.EVENT_READ, lambda _mask: self.handle())

    def handle(self) -> None:
        """React to the signals that have arrived since the last time."""
        for number in dict.fromkeys(os.read(self.reader, 4096)):
            if number in self._actions:
                self._actions[signal.Signals(number)]()


def _wake(_number: int, _frame: object) -> None:
    """Nothing: the byte that the interpreter wrote is the message."""


def hold_back() -> None:
    """Keep signals waiting while a process forks and its child sets itself up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def let_through() -> None:
    """Deliver what waited."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)


def ignore(*numbers: signal.Signals) -> None:
    """Take no notice of these."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def restore_default(*numbers: signal.Signals) -> None:
    """React to these as a process does that never heard of them."""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
