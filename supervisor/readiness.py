"""Telling systemd (`Type=notify`): sd_notify(3) in a few lines."""

from __future__ import annotations

import os
import socket

from ipc.moments import moment


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like to whoever started us and asked for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            with moment("systemd.send"):
                channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # it went away: it will not miss the word
            return
