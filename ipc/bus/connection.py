"""One client of the server: its requests, its calls and its subscriptions, in bounded memory."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Protocol

from ..errors import BackburnerError
from ..failpoints import failpoint
from ..lines import LineReader, LineTooLong
from ..model.event import Line
from ..store.log_reader import LogReader
from . import jsonrpc
from .jsonrpc import Request

#: While this many bytes or more wait to be sent to a client, its next requests are not read.
HIGH_WATER = 64 * 1024
#: While fewer bytes than this wait, the next page of the log is read. There is room for a good part of it then, so that
#: a page is seldom read twice.
LOW_WATER = HIGH_WATER // 2

#: The maximum number of bytes that are read from a socket at a time.
CHUNK = 64 * 1024

#: The maximum number of requests of one client that are answered before other clients get their turn.
REQUESTS_PER_TURN = 16

#: The maximum number of bytes that are read from a refused client and discarded. A client that is disconnected at once
#: might not receive the error.
MAX_DISCARDED = 16 * 1024 * 1024


class Call:
    """One request that has not been answered yet."""

    def __init__(self, connection: Connection, request: Request) -> None:
        """Add the call to its client's open calls."""
        self.id = request.id
        self.connection = connection
        #: True once it has been answered or its client has disconnected.
        self.closed = False
        self._is_notification = request.is_notification
        self._when_closed: Callable[[], object] | None = None
        connection.calls.add(self)

    def answer(self, result: object) -> None:
        """Send the result, unless the call is closed."""
        self._finish(jsonrpc.encode_result(self.id, result))

    def fail(self, error: BackburnerError) -> None:
        """Send an error, unless the call is closed."""
        self._finish(jsonrpc.encode_error(self.id, error))

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Call `callback()` as soon as the call is answered or its client disconnects."""
        self._when_closed = callback

    def close(self) -> None:
        """Close the call. Nothing more is sent."""
        self.closed = True
        self.connection.calls.discard(self)
        if callback := self._when_closed:
            self._when_closed = None
            callback()

    def _finish(self, frame: bytes) -> None:
        if self.closed:
            return
        self.close()
        if not self._is_notification:
            self.connection.send(frame)


@dataclass(eq=False, slots=True)
class Subscription:
    """A cursor on the log. While it lags, its events are read from the log. Otherwise it gets new events at once."""

    connection: Connection
    parent: str
    consumer: str
    types: frozenset[str] | None
    reader: LogReader
    lagging: bool = False

    def fall_behind(self) -> None:
        """Let the connection read the next events from the log when it has room."""
        self.lagging = True
        self.connection.lagging.append(self)

    def deliver(self, line: Line) -> None:
        """Move the reader to an event, and queue its frame if the client subscribed to its type."""
        self.reader.seq = line.seq
        if self.types is None or line.type in self.types:
            self.connection.queue(line.frame)


class Server(Protocol):
    """The methods of the server that a connection calls."""

    def answer(self, connection: Connection, line: bytes) -> None:
        """Answer one request."""

    def catch_up(self, connection: Connection) -> None:
        """Send a client some of the events that it has not received yet."""

    def release(self, connection: Connection) -> None:
        """End the subscriptions and calls of a client."""

    def forget(self, connection: Connection) -> None:
        """Forget a client that has been disconnected."""


class Connection:
    """One client, with bounded buffers for input and output.

    The socket is watched for reading while the client reads its responses, and for writing while there is something
    to send. A client that does not read is not served until it reads again.
    """

    def __init__(self, client: socket.socket, selector: BaseSelector, server: Server) -> None:
        """Take over a non-blocking socket. It is served after the first `flush`."""
        self.subscriptions: list[Subscription] = []
        self.lagging: deque[Subscription] = deque()
        self.calls: set[Call] = set()
        self.closed = False
        self._client, self._selector, self._server = client, selector, server
        self._reader = LineReader()
        self._out = bytearray()
        self._watched = 0
        self._in_turn = False
        #: True if the reader may hold another whole request.
        self._has_requests = False
        #: True once the client has sent everything.
        self._at_end = False
        #: The number of bytes that may still be discarded from a refused client, or None for other clients.
        self._discards: int | None = None

    @property
    def is_full(self) -> bool:
        """Return True if the client must read before it is sent anything else."""
        return len(self._out) >= HIGH_WATER

    @property
    def has_room(self) -> bool:
        """Return True if there is room for a good part of a page of the log."""
        return len(self._out) < LOW_WATER

    @property
    def hung_up(self) -> bool:
        """Return True if the client has closed its socket, instead of only its sending side."""
        if not self._at_end:
            return False
        poll = select.poll()
        poll.register(self._client, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def turn(self, ready: int) -> None:
        """Receive, answer and send a bounded amount."""
        if self.closed:
            return
        self._in_turn = True
        try:
            if ready & EVENT_READ:
                self._receive()
            self._serve()
            self._server.catch_up(self)
        finally:
            self._in_turn = False
        self.flush()

    def queue(self, frame: bytes) -> None:
        """Send a frame at the end of this turn, or with the next `flush`."""
        if not self.closed:
            self._out += frame

    def send(self, frame: bytes) -> None:
        """Send a frame as soon as the client can receive it."""
        self.queue(frame)
        self.flush()

    def flush(self) -> None:
        """Send as much as the client can receive, then watch for the next event."""
        if self._in_turn or self.closed:
            return
        self._write()
        if self._is_finished():
            self.close()
        elif not self.closed:
            self._watch()

    def refuse(self, error: BackburnerError) -> None:
        """Send an error, and disconnect."""
        self._server.release(self)
        self.queue(jsonrpc.encode_error(None, error))
        self._has_requests = False
        self._discards = MAX_DISCARDED

    def close(self) -> None:
        """Disconnect at once. What has not been sent is dropped."""
        if self.closed:
            return
        self.closed = True
        if self._watched:
            self._selector.unregister(self._client)
        self._client.close()
        self._out.clear()
        self._server.release(self)
        self._server.forget(self)

    def _receive(self) -> None:
        try:
            data = self._client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._at_end = not data
        if self._discards is None:
            self._reader.feed(data)
        else:
            self._discard(len(data))

    def _discard(self, size: int) -> None:
        assert self._discards is not None
        self._discards -= size
        if self._discards < 0:
            self.close()

    def _serve(self) -> None:
        """Answer some of the requests. An incomplete line at the end of the stream is dropped."""
        lines = self._reader.lines()
        for _ in range(REQUESTS_PER_TURN):
            if self.closed or self._discards is not None:
                return
            self._has_requests = self.is_full or self._serve_next(lines)
            if self.is_full or not self._has_requests:
                return

    def _serve_next(self, lines: Iterator[bytes]) -> bool:
        """Answer the next request. Return False if there is none."""
        try:
            line = next(lines, None)
        except LineTooLong as error:
            self.refuse(error)
            return False
        if line is not None:
            self._server.answer(self, line)
        return line is not None

    def _write(self) -> None:
        try:
            while self._out:
                with failpoint("bus.send"):
                    sent = self._client.send(self._out)
                del self._out[:sent]
            if self._discards is not None:
                self._client.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()

    def _is_finished(self) -> bool:
        """Return True if nothing is left to do. A client that has closed only its sending side still gets events."""
        if not self._at_end or self._out or self._has_requests:
            return False
        return not (self.subscriptions or self.calls) or self.hung_up

    def _watch(self) -> None:
        mask = self._needed_mask()
        if mask == self._watched:
            return
        if not self._watched:
            self._selector.register(self._client, mask, self.turn)
        elif mask:
            self._selector.modify(self._client, mask, self.turn)
        else:
            self._selector.unregister(self._client)
        self._watched = mask

    def _needed_mask(self) -> int:
        """Return the selector events for which there is something to do."""
        may_read = self._discards is not None or not (self._has_requests or self.is_full)
        reads = may_read and not self._at_end
        writes = self._out or self._has_requests or self.lagging
        return (EVENT_READ if reads else 0) | (EVENT_WRITE if writes else 0)
