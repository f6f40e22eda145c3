"""The base of all roles. A role boots, takes turns with rests between them, and shuts down."""

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
from ..ipc.machine.shortage import is_shortage
from .log import log, log_trouble, set_role
from .system.file_watch import FileWatch
from .system.signals import Signals, let_through
from .system.title import show_title

#: Seconds until the next try when the disk is full or the write gate is taken.
TROUBLE_REST = 0.5

#: Seconds of rest after a callback that failed for want of a descriptor.
SHORTAGE_PAUSE = 0.1

#: Seconds after which a missing home counts as deleted. Until then it may have been moved, and may come back.
HOME_LOST_AFTER = 60.0

#: Bytes of freed memory that a process keeps. The store drops its cache when another process commits, and reads the
#: pages again. Returning that memory and faulting it in each time took a tenth of a worker's time.
KEPT_MEMORY = 4 * 1024 * 1024

#: The size in bytes from which a freed block is returned to the system at once. This is the maximum to which glibc
#: adapts the limit by default (DEFAULT_MMAP_THRESHOLD_MAX in mallopt(3)).
LARGE_BLOCK = 32 * 1024 * 1024

# prctl(2), mallopt(3)
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class Role:
    """A long-lived process of this program. A subclass defines `turn`, and may define `boot` and `shutdown`.

    Everything that the role waits for is registered with `selector`. The data of a registration is a callback, which
    takes the mask of ready events.
    """

    #: The name of the process, as `ps -o comm` shows it.
    name = "bb-role"
    #: True if a turn that failed for want of processes, memory or descriptors can be repeated.
    outlasts_shortages = True

    def __init__(self, home: Home) -> None:
        self.home = home
        self.presence = Presence(home)
        self.selector = selectors.DefaultSelector()
        self.file_watch = FileWatch(self.selector, home, self.database_changed)
        self.done = False
        self._home_id = home.id
        self._gone_since: float | None = None

    def run(self) -> None:
        """Boot, alternate turns and rests until the role is finished, then shut down.

        An unexpected error ends the process at once, as a kill does, so that its work is rescued.
        """
        name_process(self.name)
        show_title(f"{self.name} {self.home.folder}")
        set_role(self.name.removeprefix("bb-"))
        self._signals = Signals(self.selector, self.signals())
        let_through()
        self.boot()
        while not self.done:
            if self.is_home_lost():
                log("home_lost", home=self.home.folder)
                self.abandon()
            self.wait(min(self._guarded_turn(), self._until_lost()))
        self._guarded_shutdown()

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """Return the action for each signal."""
        return {signal.SIGTERM: self.finish, signal.SIGINT: self.finish, signal.SIGUSR1: do_nothing}

    def boot(self) -> None:
        """Open everything that the role needs."""

    def turn(self) -> float:
        """Do everything that is due. Return the seconds that the role may rest. 0 means another turn at once."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Close everything that `boot` has opened."""

    def abandon(self) -> None:
        """React to the loss of the home: exit as soon as possible."""
        self.finish()

    def finish(self) -> None:
        """Make this turn the last one."""
        self.done = True

    def wait(self, rest: float) -> None:
        """Rest until something happens, for at most `rest` seconds."""
        if self.done:
            return
        events = self.selector.select(rest)
        if events:
            self.file_watch.note_activity()
        for key, mask in events:
            self._call_back(key.data, mask)

    def _call_back(self, callback: Callable[[int], object], mask: int) -> None:
        try:
            callback(mask)
        except OSError as error:
            if not (self.outlasts_shortages and is_shortage(error)):
                raise
            log_trouble(TROUBLE_REST, error)
            clock.nap(SHORTAGE_PAUSE)  # the descriptor may still be ready

    def database_changed(self) -> None:
        """React to a change that the file watch reported. The turn that follows looks at the database."""

    def is_home_lost(self) -> bool:
        """Return True if the home has been missing, or replaced by another one, for `HOME_LOST_AFTER` seconds."""
        found = self.home.id
        self._home_id = self._home_id or found
        if found and found == self._home_id:
            self._gone_since = None
            return False
        now = clock.monotonic()
        self._gone_since = self._gone_since or now
        return now - self._gone_since >= HOME_LOST_AFTER

    def _until_lost(self) -> float:
        """Return the seconds until a missing home counts as lost, or infinity if it is there."""
        if self._gone_since is None:
            return float("inf")
        return max(0.0, self._gone_since + HOME_LOST_AFTER - clock.monotonic())

    def _guarded_shutdown(self) -> None:
        try:
            self.shutdown()
        except Temporary as error:  # other processes notice that this one has exited
            log_trouble(0.0, error)

    def _guarded_turn(self) -> float:
        try:
            return self.turn()
        except (Temporary, PermissionError) as error:  # a permission may be granted later
            log_trouble(TROUBLE_REST, error)
        except (OSError, MemoryError) as error:
            if not (self.outlasts_shortages and is_shortage(error)):
                raise
            log_trouble(TROUBLE_REST, error)
        return TROUBLE_REST

    def listen_for_hints(self, role: str, on_data: Callable[[bytes], None]) -> None:
        """Pass on what other processes write to the pipe `<role>.wake` of the home."""
        pipe = os.open(self.home.folder / f"{role}.wake", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(pipe, selectors.EVENT_READ, lambda _mask: on_data(os.read(pipe, 65536)))


def do_nothing() -> None:
    """Do nothing for a signal that only has to wake the role."""


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` shows for this process (Linux only)."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


def keep_memory() -> None:
    """Keep freed memory for the next task (glibc only).

    Use this only in processes that spend most time in the store. A fixed threshold does not adapt to large blocks.
    """
    _mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY)


def reuse_large_blocks() -> None:
    """Keep large freed blocks as well, after `keep_memory`, because user code may need them again."""
    _mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)


def _mallopt(option: int, value: int) -> None:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(option, value)


def become_subreaper() -> None:
    """Become the parent of every orphan among this process's descendants (Linux only)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def _prctl(option: int, value: ctypes.c_char_p | ctypes.c_ulong) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
