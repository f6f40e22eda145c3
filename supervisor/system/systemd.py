"""Notify systemd of the state of a service with `Type=notify`, as sd_notify(3) describes."""

from __future__ import annotations

import os
import socket

from ...ipc import clock
from ...ipc.failpoints import failpoint


def notify(state: str) -> None:
    """Send a state such as `READY=1` to the service manager, if the process has one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            with failpoint("systemd.send"):
                channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # the service manager is gone
            return


class KeepAlive:
    """The pings for `WatchdogSec=`, without which systemd restarts the supervisor. See sd_watchdog_enabled(3)."""

    def __init__(self) -> None:
        is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = os.environ.get("WATCHDOG_USEC", "") if is_ours else ""
        self._interval = int(limit) / 3_000_000 if limit.isdigit() and int(limit) else float("inf")
        self._next = 0.0

    def ping_if_due(self) -> None:
        """Send a ping if one is due, three times within each limit."""
        if self.rest() == 0.0:
            self._next = clock.monotonic() + self._interval
            notify("WATCHDOG=1")

    def rest(self) -> float:
        """Return the seconds until the next ping is due, or infinity if systemd does not expect any."""
        if self._interval == float("inf"):
            return self._interval
        return max(0.0, self._next - clock.monotonic())
