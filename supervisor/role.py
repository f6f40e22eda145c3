"""What all roles share: boot, then turns with rests between them, then a farewell."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import sys
from collections.abc import Callable

from ..ipc import clock
from ..ipc.errors import Temporary
from ..ipc.home import Home
from ..ipc.machine.presence import Presence
from .log import say
from .system.file_watch import FileWatch
from .system.signals import Signals, let_through

#: Seconds until the next try after a disk was full or the gate was shut.
TROUBLE_REST = 0.5

#: Seconds after which a home that was deleted is given up: it may have been moved, and come back.
HOMELESS = 60.0

#: Bytes of freed memory that a process keeps. SQLite drops what it has read when another process commits, and reads
#: it again: given back each time, and faulted in again, it was a tenth of a worker's time.
KEPT = 4 * 1024 * 1024

#: Bytes from which a block is returned to the system as soon as it is freed. Without any setting, glibc adapts this
#: limit up to that value (DEFAULT_MMAP_THRESHOLD_MAX in mallopt(3)).
LARGE = 32 * 1024 * 1024

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class Role:
    """A process of ours. A subclass says what one turn does, and how long it may rest after it.

    Everything that can be waited for is registered with `selector`; its data is called with the ready mask.
    """

    #: What `ps -o comm` shows.
    name = "bb-role"

    def __init__(self, home: Home) -> None:
        """Prepare to run in that home."""
        self.home = home
        self.presence = Presence(home)
        self.selector = selectors.DefaultSelector()
        self.file_watch = FileWatch(self.selector, home, self.database_changed)
        self.done = False
        self._gone_since: float | None = None

    def run(self) -> None:
        """Boot, turn and rest until done, then say farewell.

        An unexpected error ends the process at once, as a kill does: what it had is rescued, not signed off.
        """
        name_process(self.name)
        self._signals = Signals(self.selector, self.signals())
        let_through()
        self.boot()
        while not self.done:
            if self.is_homeless():
                say("homeless", home=self.home.folder)
                self.abandon()
            self.wait(self._careful_turn())
        self._say_farewell()

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """What is done when a signal arrives."""
        return {signal.SIGTERM: self.finish, signal.SIGINT: self.finish, signal.SIGUSR1: nothing}

    def boot(self) -> None:
        """Open what is needed."""

    def turn(self) -> float:
        """Do what there is to do; for how many seconds one may rest then (0: look again at once)."""
        raise NotImplementedError

    def farewell(self) -> None:
        """Close what was opened."""

    def abandon(self) -> None:
        """The home is gone for good."""
        self.finish()

    def finish(self) -> None:
        """Have this be the last turn."""
        self.done = True

    def wait(self, rest: float) -> None:
        """Rest until something happens, at most `rest` seconds."""
        if self.done:
            return
        events = self.selector.select(rest)
        if events:
            self.file_watch.note_activity()
        for key, mask in events:
            key.data(mask)

    def database_changed(self) -> None:
        """React to a change that the file watch reported. The turn that follows looks at the database."""

    def is_homeless(self) -> bool:
        """Whether the home has been gone for so long that it will not come back."""
        if os.path.exists(self.home.folder):
            self._gone_since = None
            return False
        now = clock.monotonic()
        self._gone_since = self._gone_since or now
        return now - self._gone_since >= HOMELESS

    def _say_farewell(self) -> None:
        try:
            self.farewell()
        except Temporary as error:  # who died is seen by the next one, with or without a word
            say("trouble", rest=0.0, why=error)

    def _careful_turn(self) -> float:
        try:
            return self.turn()
        except (Temporary, PermissionError) as error:  # what may not be done now may be allowed again
            say("trouble", rest=TROUBLE_REST, why=error)
            return TROUBLE_REST

    def listen_for_hints(self, role: str, heard: Callable[[bytes], None]) -> None:
        """Have the home's `<role>.wake` pipe wake this process, and hand on what is written there."""
        pipe = os.open(self.home.folder / f"{role}.wake", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(pipe, selectors.EVENT_READ, lambda _mask: heard(os.read(pipe, 65536)))


def nothing() -> None:
    """Being woken is all."""


def name_process(name: str) -> None:
    """What `ps -o comm` shows of this process, where the system can be told."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


def keep_memory() -> None:
    """Give little memory back between two tasks, where the C library can be told so (glibc: mallopt(3)).

    For who works on the database alone: large blocks are always given back then, and made anew.
    """
    _mallopt(_M_TRIM_THRESHOLD, KEPT)


def reuse_large_blocks() -> None:
    """Keep freed blocks for the next use, after `keep_memory`: user code may need large ones again and again."""
    _mallopt(_M_MMAP_THRESHOLD, LARGE)


def _mallopt(option: int, value: int) -> None:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(option, value)


def become_subreaper() -> None:
    """Be the parent of every orphan among one's descendants, where the system knows that (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def _prctl(option: int, value: ctypes.c_char_p | ctypes.c_ulong) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
