"""The worker's end of its line to the supervisor, with one JSON message a line."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader


class SupervisorLine:
    """Receives the supervisor's orders and sends reports. The line of an adopted worker is closed."""

    def __init__(
        self, channel: socket.socket, on_order: Callable[[dict[str, Any]], None], on_lost: Callable[[], None]
    ) -> None:
        """Call `on_order` with each order, and `on_lost` when the supervisor is gone."""
        channel.setblocking(False)
        self.channel = channel
        self._on_order = on_order
        self._on_lost = on_lost
        self._reader = LineReader()

    def read(self, _mask: int) -> None:
        """Read the orders that have arrived."""
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_lost()
            return
        self._reader.feed(data)
        for line in self._reader.lines():
            self._on_order(json.loads(line))

    def report(self, message: dict[str, Any]) -> None:
        """Send a message. If the supervisor is gone, `read` notices that."""
        try:
            with failpoint("worker.say"):
                self.channel.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return
