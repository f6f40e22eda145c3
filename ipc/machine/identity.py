"""The identity of a process. Its PID is not enough, because the system may give it to another process later."""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from ..errors import Permanent
from ..failpoints import failpoint
from . import proc
from .proc import pid_namespace, start_ticks


@dataclass(frozen=True)
class Identity:
    """A unique identity of a process.

    `ticks` is the start time of the process, in clock ticks since the boot on Linux, in microseconds since 1970 on
    macOS. `boot` and `pidns` identify the boot and the PID namespace in which the PID is valid.
    """

    pid: int
    ticks: int
    boot: str
    pidns: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of the process that has this PID now, or None."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks, boot_id(), pid_namespace())

    @classmethod
    def mine(cls) -> Identity:
        """Return the identity of this process. Raises Permanent."""
        identity = cls.of(os.getpid())
        if identity is None:
            raise Permanent(f"{proc.MISSING} To mount it: {proc.MOUNT_COMMAND}")
        return identity

    @classmethod
    def named(cls, name: str) -> Identity:
        """Return the identity that the property `name` describes."""
        pid, ticks, boot, pidns = name.split(" ", 3)
        return cls(int(pid), int(ticks), boot, pidns)

    @property
    def name(self) -> str:
        """Return the identity as one line of text."""
        return f"{self.pid} {self.ticks} {self.boot} {self.pidns}"

    def alive(self) -> bool | None:
        """Return True if the process is alive, or None if that is unknown because it is in another PID namespace."""
        if self.boot != boot_id():
            return False
        if self.pidns != pid_namespace():
            return None
        return start_ticks(self.pid) == self.ticks

    def open(self) -> int | None:
        """Return a pidfd of this process, or None if it is dead or the system has no pidfds."""
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():  # checked after the descriptor pinned the PID, which may have been reused before
            return descriptor
        os.close(descriptor)
        return None

    def signal(self, number: int = signal.SIGUSR1) -> bool:
        """Send a signal to this process only. Return False if it is dead or another user's."""
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


@functools.cache
def boot_id() -> str:
    """Return the identifier of the current boot of this machine."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    if proc.LINUX:
        raise Permanent(f"{proc.MISSING} To mount it: {proc.MOUNT_COMMAND}")
    return _macos_boot_id()


def _macos_boot_id() -> str:
    import ctypes

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    library = ctypes.CDLL(None)
    if library.sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0) != 0:
        raise Permanent("This system does not report its boot ID.")
    return buffer.value.decode()
