"""Telling systemd (`Type=notify`): sd_notify(3) in a few lines."""

from __future__ import annotations

import os
import socket

from ...ipc import clock
from ...ipc.failpoints import failpoint


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like to whoever started us and asked for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            with failpoint("systemd.send"):
                channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # it went away: it will not miss the word
            return


class Watchdog:
    """systemd's (`WatchdogSec=`): it restarts a supervisor that has not been heard of for that long."""

    def __init__(self) -> None:
        """Ask the environment whether anybody waits for a sign of life."""
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = os.environ.get("WATCHDOG_USEC", "") if mine else ""
        self._every = int(wanted) / 3_000_000 if wanted.isdigit() and int(wanted) else float("inf")
        self._next = 0.0

    def feed(self) -> None:
        """Give a sign of life, if one is due."""
        if self.rest() == 0.0:
            self._next = clock.monotonic() + self._every
            notify("WATCHDOG=1")

    def rest(self) -> float:
        """Seconds until the next one is due; infinity where nobody waits."""
        if self._every == float("inf"):
            return self._every
        return max(0.0, self._next - clock.monotonic())
