"""The line between supervisor and fork server. Each message is a line of JSON with at most one descriptor."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader

OnMessage = Callable[[dict[str, Any], socket.socket | None], None]


class ControlLine:
    """One end of the line."""

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector, on_message: OnMessage) -> None:
        """Call `on_message` with each message and the channel that came with it."""
        connection.setblocking(False)
        self._connection = connection
        self._selector = selector
        self._on_message = on_message
        self._reader = LineReader()
        self._channels: list[socket.socket] = []
        self.closed = False
        selector.register(connection, selectors.EVENT_READ, self._read)

    def send(self, message: dict[str, Any], channel: socket.socket | None = None) -> None:
        """Send a message. If that would block, close the line, because the other end is stopped or gone."""
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
        """Close the connection."""
        if not self.closed:
            self.closed = True
            self._selector.unregister(self._connection)
            self._connection.close()

    def drop(self) -> None:
        """Close the descriptors in a forked child, without unregistering them from the selector that it shares.

        The channels of processes that are forked later are closed as well. If the child kept such a channel, that
        line would stay open after both of its ends have died.
        """
        self.closed = True
        self._connection.close()
        for channel in self._channels:
            channel.close()

    def _read(self, _mask: int) -> None:
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
            has_channel = "spawn" in message and message.get("channel", False)
            self._on_message(message, self._channels.pop(0) if has_channel and self._channels else None)


def _received(descriptor: int) -> socket.socket:
    """Return a received socket that no task inherits. By default, a received descriptor survives an exec."""
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    return channel
