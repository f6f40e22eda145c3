"""The line between supervisor and fork server. Each message is a line of JSON, which may come with descriptors."""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader

#: Handles a message, the channel that came with it, and the descriptors of a shared slot that came with it.
OnMessage = Callable[[dict[str, Any], socket.socket | None, list[int]], None]

#: The largest number of descriptors that one reading receives.
_MOST = 250


class ControlLine:
    """One end of the line."""

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector, on_message: OnMessage) -> None:
        """Call `on_message` with each message and what came with it."""
        connection.setblocking(False)
        self._connection = connection
        self._selector = selector
        self._on_message = on_message
        self._reader = LineReader()
        self._received: list[int] = []
        self.closed = False
        selector.register(connection, selectors.EVENT_READ, self._read)

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message with copies of descriptors: first a channel, then those of a shared slot.

        The fields `channel` (true) and `slot` (a number) count them. If sending would block, close the line, because
        the other end is stopped or gone.
        """
        data = json.dumps(message).encode() + b"\n"
        try:
            if not descriptors:
                with failpoint("fork_server.line.send"):
                    self._connection.sendall(data)
            else:
                with failpoint("fork_server.line.send-channel"):
                    socket.send_fds(self._connection, [data], list(descriptors))
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

        The descriptors for processes that are forked later are closed as well. If the child kept such a channel, that
        line would stay open after both of its ends have died.
        """
        self.closed = True
        self._connection.close()
        for descriptor in self._received:
            os.close(descriptor)

    def _read(self, _mask: int) -> None:
        if self.closed:
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, 65536, _MOST)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        self._keep(descriptors)
        self._reader.feed(data)
        for line in self._reader.lines():
            message = json.loads(line)
            self._on_message(message, *self._what_came_with(message))

    def _keep(self, descriptors: Sequence[int]) -> None:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # by default, a received descriptor survives an exec
            self._received.append(descriptor)

    def _what_came_with(self, message: dict[str, Any]) -> tuple[socket.socket | None, list[int]]:
        channels = self._take(1 if message.get("channel") else 0)
        return socket.socket(fileno=channels[0]) if channels else None, self._take(message.get("slot", 0))

    def _take(self, count: int) -> list[int]:
        taken, self._received = self._received[:count], self._received[count:]
        return taken
