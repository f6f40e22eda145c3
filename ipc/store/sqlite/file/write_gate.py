"""The write gate: one writer at a time, in all processes of a home.

SQLite up to 3.51.2 can corrupt a WAL database when a commit that resets the WAL meets a second checkpoint
(sqlite.org/wal.html, "the WAL-reset bug"). Under contention it also makes writers sleep and starve. Each write
transaction and each checkpoint therefore holds this lock.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import signal
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from .... import clock
from ....errors import GateBusy
from ....machine.lock import holder_of, try_lock

#: Seconds that a writer waits for the gate: longer than any transaction takes, and short enough for a command.
TIMEOUT = 5.0

#: The delays between tries in seconds. The first is about as long as a short transaction. The longest is short enough
#: for sixteen waiting writers. The jitter keeps them from trying at the same moment.
FIRST_DELAY, LONGEST_DELAY, JITTER = 0.0001, 0.003, (0.5, 1.5)

#: Seconds after which a waiting writer checks the process that holds the gate. Many writers in turn need less time.
CHECK_AFTER = 0.1

#: The signals by which a terminal stops a process.
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

_gates: dict[Path, WriteGate] = {}
_gates_lock = threading.Lock()


class WriteGate:
    """The gate of one home."""

    def __init__(self, path: Path) -> None:
        """Use `WriteGate.of` instead."""
        self.path = path
        self.timeout = TIMEOUT
        self._unmasked: set[int | signal.Signals] | None = None
        self._mutex = threading.Lock()
        self._descriptor = -1

    @classmethod
    def of(cls, path: Path) -> WriteGate:
        """Return this process's only gate for a file: closing a second descriptor would release the lock."""
        with _gates_lock:
            return _gates.setdefault(path, cls(path))

    def __enter__(self) -> Self:
        """Acquire the gate. Raises GateBusy."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the gate."""
        self.release()

    def acquire(self) -> None:
        """Wait for the gate. Raises GateBusy, with the holder's process ID, after `timeout` seconds."""
        deadline = clock.monotonic() + self.timeout
        if not self._mutex.acquire(timeout=self.timeout):
            raise GateBusy(f"Another thread holds the write gate {self.path}.")
        try:
            if _has_terminal():  # Ctrl-Z while the gate is held would block every other writer until `fg`
                self._unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, JOB_CONTROL)
            if not self._try():
                self._wait(deadline)
        except BaseException:
            self._leave()
            raise

    def release(self) -> None:
        """Release the gate."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._leave()

    def _leave(self) -> None:
        if self._unmasked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._unmasked)
            self._unmasked = None
        self._mutex.release()

    def _wait(self, deadline: float) -> None:
        from ....backoff import Backoff  # imported only if the gate is contended
        from ....machine.watchdog import Watchdog

        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, 3.0, JITTER)
        watchdog = Watchdog()  # not reused: the process that held the gate during the last wait has released it since
        began = clock.monotonic()
        while not self._try():
            now = clock.monotonic()
            if now >= deadline:
                raise GateBusy(f"Process {holder_of(self._descriptor)} holds the write gate {self.path}.")
            if now - began >= CHECK_AFTER:
                watchdog.check(holder_of(self._descriptor))
            clock.nap(backoff.next_delay())

    def _try(self) -> bool:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(self._descriptor):
            return False
        if self._has_current_file():
            return True
        os.close(self._descriptor)  # the home was recreated, and other processes lock the new file
        self._descriptor = -1
        return False

    def _has_current_file(self) -> bool:
        try:
            return os.fstat(self._descriptor).st_ino == os.stat(self.path).st_ino
        except FileNotFoundError:
            return False

    def forget(self) -> None:
        """Reset the gate in a forked child, which shares the descriptor but not the lock."""
        self._mutex = threading.Lock()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@functools.cache
def _has_terminal() -> bool:
    """Return True if this process has a controlling terminal, which could stop it.

    The answer is cached. If a process acquires a terminal later and is stopped while it holds the gate, the next writer
    continues it.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT)
    return True


def _forget_all() -> None:
    _has_terminal.cache_clear()  # the child may start a session without a terminal
    for gate in _gates.values():
        gate.forget()


os.register_at_fork(after_in_child=_forget_all)
