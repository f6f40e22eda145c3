"""The line between supervisor and fork server: JSON, one message a line, and with each at most one descriptor."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader


class ControlLine:
    """One end of it."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        heard: Callable[[dict[str, Any], socket.socket | None], None],
    ) -> None:
        """Speak on that connection; `heard` is called with each message and what came with it."""
        connection.setblocking(False)
        self._connection = connection
        self._selector = selector
        self._heard = heard
        self._reader = LineReader()
        self._channels: list[socket.socket] = []
        self.closed = False
        selector.register(connection, selectors.EVENT_READ, self._readable)

    def send(self, message: dict[str, Any], channel: socket.socket | None = None) -> None:
        """Send a message. One that cannot be sent now is lost with the line: the other end is stopped or gone."""
        data = json.dumps(message).encode() + b"\n"
        try:
            if channel is None:
                with failpoint("fork_server.line.send"):
                    self._connection.sendall(data)
            else:
                with failpoint("fork_server.line.send-channel"):
                    socket.send_fds(self._connection, [data], [channel.fileno()])
        except OSError:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if not self.closed:
            self.closed = True
            self._selector.unregister(self._connection)
            self._connection.close()

    def drop(self) -> None:
        """Let go of it in a forked child, which shares the selector with its parent: nothing may be unregistered.

        What came for those that are made after it goes, too: held here, it would keep a worker's line open when both
        ends of it are dead.
        """
        self.closed = True
        self._connection.close()
        for channel in self._channels:
            channel.close()

    def _readable(self, _mask: int) -> None:
        if self.closed:
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, 65536, 8)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        self._channels += [_received(descriptor) for descriptor in descriptors]
        self._reader.feed(data)
        for line in self._reader.lines():
            message = json.loads(line)
            wants = "spawn" in message and message.get("channel", False)
            self._heard(message, self._channels.pop(0) if wants and self._channels else None)


def _received(descriptor: int) -> socket.socket:
    """A socket that came over the line and that no task is to inherit; what comes so survives an exec at first."""
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    return channel
