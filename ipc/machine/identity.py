"""Who a process is: its number alone may be given to another one."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from ..failpoints import failpoint
from .boot import boot_id
from .proc import pid_namespace, start_ticks


@dataclass(frozen=True)
class Identity:
    """A process, named so that no other one ever has the same name.

    `ticks` is when it started, raw, in the kernel's clock ticks since the boot (macOS: microseconds since 1970);
    `boot` and `pidns` say in which run of the kernel and in which namespace the number counts.
    """

    pid: int
    ticks: int
    boot: str
    pidns: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this number now, or None."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks, boot_id(), pid_namespace())

    @classmethod
    def mine(cls) -> Identity:
        """This process."""
        found = cls.of(os.getpid())
        assert found is not None, "this process lives"
        return found

    @classmethod
    def named(cls, name: str) -> Identity:
        """The process with that `name`."""
        pid, ticks, boot, pidns = name.split(" ", 3)
        return cls(int(pid), int(ticks), boot, pidns)

    @property
    def name(self) -> str:
        """It, in one line."""
        return f"{self.pid} {self.ticks} {self.boot} {self.pidns}"

    def alive(self) -> bool | None:
        """Whether it lives; None where that cannot be known from here (another, perhaps living, namespace)."""
        if self.boot != boot_id():
            return False
        if self.pidns != pid_namespace():
            return None
        return start_ticks(self.pid) == self.ticks

    def open(self) -> int | None:
        """A pidfd of exactly this process, or None if it is gone or the system has none."""
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():  # the number was not given to another before the descriptor pinned it
            return descriptor
        os.close(descriptor)
        return None

    def signal(self, number: int = signal.SIGUSR1) -> bool:
        """Send a signal to exactly this process; whether it lived and might be signalled."""
        descriptor = self.open()
        try:
            if descriptor is not None:
                with failpoint("process.signal"):
                    signal.pidfd_send_signal(descriptor, number)
            elif hasattr(os, "pidfd_open") or not self.alive():
                return False
            else:
                with failpoint("process.kill"):
                    os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return True
