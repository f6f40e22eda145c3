"""One client of the bus: its requests, its calls and its subscriptions, within bounds."""

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
from ..model.event import ALL_SESSIONS, Line
from . import jsonrpc
from .jsonrpc import Request

#: With more than this waiting to be sent to a client, no more of its requests are read, in bytes.
FULL = 64 * 1024
#: With less than this, more is read from the log: half of `FULL`, so that a page is seldom read twice.
LOW = FULL // 2
#: What is read from a socket at a time, in bytes.
CHUNK = 64 * 1024
#: The requests of one client that are served before the others have their turn.
REQUESTS = 16
#: How much of a refused client's flood is swallowed, so that it can still read why, in bytes.
SWALLOWED = 16 * 1024 * 1024


class Call:
    """One request that is being answered."""

    def __init__(self, connection: Connection, request: Request) -> None:
        """Tie a request to the client that waits for its answer."""
        self.id = request.id
        self.connection = connection
        #: Whether it was answered, or its client is gone.
        self.closed = False
        self._silent = request.silent
        self._when_closed: Callable[[], object] | None = None
        connection.calls.add(self)

    def answer(self, result: object) -> None:
        """Send the result, unless the call is closed."""
        self._finish(jsonrpc.encode_result(self.id, result))

    def fail(self, error: BackburnerError) -> None:
        """Send an error, unless the call is closed."""
        self._finish(jsonrpc.encode_error(self.id, error))

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Have `callback()` called as soon as the call is answered or its client is gone."""
        self._when_closed = callback

    def close(self) -> None:
        """Expect no answer any more."""
        self.closed = True
        self.connection.calls.discard(self)
        if callback := self._when_closed:
            self._when_closed = None
            callback()

    def _finish(self, frame: bytes) -> None:
        if self.closed:
            return
        self.close()
        if not self._silent:
            self.connection.send(frame)


@dataclass(eq=False, slots=True)
class Subscription:
    """A cursor on the log. While it lags it is read from there; when it has caught up, from what is told."""

    connection: Connection
    parent: str
    consumer: str
    types: frozenset[str] | None
    cursor: int
    #: Whether the client's number is none of this log: it is told so, and then everything.
    lost: bool = False
    lagging: bool = False

    @property
    def concerned(self) -> str | None:
        """The parent as the log names it: None is everyone."""
        return None if self.parent == ALL_SESSIONS else self.parent

    def lag(self) -> None:
        """Go on from the log, when there is room."""
        self.lagging = True
        self.connection.lagging.append(self)

    def deliver(self, line: Line) -> None:
        """Move the cursor to an event, and queue its frame if the type was subscribed to."""
        self.cursor = line.seq
        if self.types is None or line.type in self.types:
            self.connection.queue(line.frame)


class Server(Protocol):
    """What a connection asks of the bus."""

    def answer(self, connection: Connection, line: bytes) -> None:
        """Serve one request."""

    def stream(self, connection: Connection) -> None:
        """Give the subscriptions that lag something to send."""

    def leave(self, connection: Connection) -> None:
        """End a client's subscriptions and calls."""

    def gone(self, connection: Connection) -> None:
        """Forget a client."""


class Connection:
    """One client: bytes in and out, both within bounds.

    It is watched for reading while its answers drain, and for writing while something is left to do; so a
    client that does not read stops being served, and costs nothing.
    """

    def __init__(self, client: socket.socket, selector: BaseSelector, server: Server) -> None:
        """Take over a non-blocking socket; `settle` starts it."""
        self.subscriptions: list[Subscription] = []
        self.lagging: deque[Subscription] = deque()
        self.calls: set[Call] = set()
        self.closed = False
        self._client, self._selector, self._server = client, selector, server
        self._reader = LineReader()
        self._out = bytearray()
        self._watched = 0
        self._within_turn = False
        self._unread = False
        self._ended = False
        self._swallow: int | None = None

    @property
    def full(self) -> bool:
        """Whether the client must read before it gets more."""
        return len(self._out) >= FULL

    @property
    def low(self) -> bool:
        """Whether there is room for a good part of a page."""
        return len(self._out) < LOW

    @property
    def hung_up(self) -> bool:
        """Whether the client is gone, and has not only finished speaking."""
        if not self._ended:
            return False
        poll = select.poll()
        poll.register(self._client, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def turn(self, ready: int) -> None:
        """Do a bounded amount of what there is to do."""
        if self.closed:
            return
        self._within_turn = True
        try:
            if ready & EVENT_READ:
                self._receive()
            self._serve()
            self._server.stream(self)
        finally:
            self._within_turn = False
        self.settle()

    def queue(self, frame: bytes) -> None:
        """Have a frame sent at the end of this turn, or with the next `settle`."""
        if not self.closed:
            self._out += frame

    def send(self, frame: bytes) -> None:
        """Send a frame, as far as the client reads."""
        self.queue(frame)
        self.settle()

    def settle(self) -> None:
        """Send what the client takes, then watch for what comes next."""
        if self._within_turn or self.closed:
            return
        self._push()
        if self._finished():
            self.close()
        elif not self.closed:
            self._watch()

    def refuse(self, error: BackburnerError) -> None:
        """Say why, and hang up."""
        self._server.leave(self)
        self.queue(jsonrpc.encode_error(None, error))
        self._unread = False
        self._swallow = SWALLOWED

    def close(self) -> None:
        """Let go of the client, whatever was still to be said."""
        if self.closed:
            return
        self.closed = True
        if self._watched:
            self._selector.unregister(self._client)
        self._client.close()
        self._out.clear()
        self._server.leave(self)
        self._server.gone(self)

    def _receive(self) -> None:
        try:
            data = self._client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._ended = not data
        if self._swallow is None:
            self._reader.feed(data)
        else:
            self._discard(len(data))

    def _discard(self, size: int) -> None:
        assert self._swallow is not None
        self._swallow -= size
        if self._swallow < 0:
            self.close()

    def _serve(self) -> None:
        """Answer some of the requests that have come; half a line at the end of all is dropped."""
        lines = self._reader.lines()
        for _ in range(REQUESTS):
            if self.closed or self._swallow is not None:
                return
            self._unread = self.full or self._serve_next(lines)
            if self.full or not self._unread:
                return

    def _serve_next(self, lines: Iterator[bytes]) -> bool:
        """Whether there was a request."""
        try:
            line = next(lines, None)
        except LineTooLong as error:
            self.refuse(error)
            return False
        if line is not None:
            self._server.answer(self, line)
        return line is not None

    def _push(self) -> None:
        try:
            while self._out:
                with failpoint("bus.send"):
                    sent = self._client.send(self._out)
                del self._out[:sent]
            if self._swallow is not None:
                self._client.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()

    def _finished(self) -> bool:
        """Whether nothing can come of this client any more. One that only stopped speaking still listens."""
        if not self._ended or self._out or self._unread:
            return False
        return not (self.subscriptions or self.calls) or self.hung_up

    def _watch(self) -> None:
        wanted = self._wanted()
        if wanted == self._watched:
            return
        if not self._watched:
            self._selector.register(self._client, wanted, self.turn)
        elif wanted:
            self._selector.modify(self._client, wanted, self.turn)
        else:
            self._selector.unregister(self._client)
        self._watched = wanted

    def _wanted(self) -> int:
        drained = self._swallow is not None or not (self._unread or self.full)
        listens = drained and not self._ended
        speaks = self._out or self._unread or self.lagging
        return (EVENT_READ if listens else 0) | (EVENT_WRITE if speaks else 0)
