"""The client: calls over a blocking connection, and events that survive a reconnect."""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from .. import clock
from ..backoff import Backoff
from ..errors import (
    BackburnerError,
    Disconnected,
    InvalidInput,
    MoveNotAllowed,
    NoSupervisor,
    NotFound,
    OverCap,
    Temporary,
)
from ..failpoints import failpoint
from ..home import Home
from ..lines import MAX_LINE, LineReader, LineTooLong
from ..model.event import ALL_SESSIONS, Event
from . import jsonrpc
from .jsonrpc import Id, Notification, Response, RpcError

#: The maximum number of bytes in a line from the server. The largest line is a page of a thousand tasks, each with
#: the longest possible result.
MAX_RESPONSE = 256 * 1024 * 1024

#: The maximum number of bytes that are read from a socket at a time.
CHUNK = 64 * 1024

#: The maximum number of connections that are kept open for the next calls.
MAX_IDLE = 4

_ERRORS: Mapping[int, type[BackburnerError]] = {
    error.rpc_code: error for error in (InvalidInput, NotFound, MoveNotAllowed, OverCap, Temporary)
}


class RpcConnection:
    """The protocol of one connection, without I/O. Numbers calls and separates responses from notifications."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._reader = LineReader(MAX_RESPONSE)
        self._responses: dict[Id, Response] = {}
        self._notifications: deque[Notification] = deque()

    def encode_call(self, method: str, params: Mapping[str, Any]) -> tuple[int, bytes]:
        """Return the number of a new call, and the line to send.

        Raises:
            InvalidInput: The parameters are not JSON, or the line is too long.
        """
        number = next(self._numbers)
        try:
            line = jsonrpc.encode_request(number, method, params)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"The parameters cannot be sent: {error}.") from None
        if len(line) > MAX_LINE + 1:
            raise InvalidInput(f"A request may have at most {MAX_LINE} bytes.")
        return number, line

    def receive(self, data: bytes) -> None:
        """Process bytes from the server. Empty `data` means the end of the stream.

        Raises:
            Disconnected: The stream has ended, or the bytes are not a message.
        """
        if not data:
            raise Disconnected
        self._reader.feed(data)
        try:
            for message in map(jsonrpc.decode_message, self._reader.lines()):
                self._sort(message)
        except (RpcError, LineTooLong) as error:
            raise Disconnected(f"The server sent an invalid message: {error}") from None

    def has_response(self, number: int) -> bool:
        """Return True if the response to a call has arrived."""
        return number in self._responses

    def result(self, number: int) -> Any:
        """Remove the response to a call and return its result. Raises the error in the response."""
        response = self._responses.pop(number)
        if response.error is not None:
            raise _raised_by_server(response.error)
        return response.result

    def next_notification(self) -> Notification | None:
        """Remove and return the next notification, or return None."""
        return self._notifications.popleft() if self._notifications else None

    def _sort(self, message: Response | Notification) -> None:
        if isinstance(message, Notification):
            self._notifications.append(message)
        elif message.id is None and message.error is not None:  # the server refuses the whole connection
            raise Disconnected(str(message.error))
        else:
            self._responses[message.id] = message


class SubscriptionCursor:
    """The position of a subscriber in the log. It survives a reconnect, so that no event is lost or repeated."""

    def __init__(self, parent: str, after: int | None, types: Sequence[str] | None, consumer: str | None) -> None:
        """Start after the event `after`. None means the last event that the consumer has acknowledged."""
        self._parent, self._after, self._consumer = parent, after, consumer
        self._types = None if types is None else list(types)
        self._log: str | None = None
        self._unacknowledged: int | None = None
        self.backoff = Backoff()

    @property
    def subscription(self) -> dict[str, Any]:
        """Return the parameters of the next `subscribe`."""
        params = {"after": self._after, "types": self._types, "consumer": self._consumer}
        return {"parentSessionId": self._parent} | {name: value for name, value in params.items() if value is not None}

    @property
    def pending_ack(self) -> dict[str, Any] | None:
        """Return the parameters of the `ack` for the last event, or None if the server has confirmed it."""
        consumer = {} if self._consumer is None else {"consumer": self._consumer}
        if self._unacknowledged is None:
            return None
        return {"parentSessionId": self._parent, "seq": self._unacknowledged, **consumer}

    def acknowledged(self) -> None:
        """Record that the server has confirmed the `ack`."""
        self._unacknowledged = None

    def subscribed(self, result: Mapping[str, Any]) -> None:
        """Process the result of `subscribe`.

        Raises:
            Disconnected: The server has another event log, so the cursor is invalid. The next subscription starts at
                the beginning of that log.
        """
        previous_log, self._log = self._log, result["log"]
        if previous_log not in (None, self._log):
            self._after, self._unacknowledged = 0, None
            raise Disconnected("The event log is not the same as in the last connection.")
        if self._after is None and self._parent == ALL_SESSIONS:
            self._after = result["seq"]
        self.backoff.reset()

    def received(self, notification: Notification) -> Event:
        """Return the event in a notification, and move the cursor to it. Raises Disconnected if it is not valid."""
        try:
            event = Event.from_json(notification.params)
        except (KeyError, TypeError, ValueError) as error:
            raise Disconnected(f"The server sent an invalid event: {error!r}") from None
        self._after = self._unacknowledged = event.seq
        return event


class Client:
    """A blocking client of the socket. Threads may share it."""

    def __init__(self, home: Home, connect_timeout: float | None = 0.0, read_timeout: float | None = None) -> None:
        """Create a client that connects with the first call.

        A call waits up to `connect_timeout` seconds for a server to listen. A server that is silent for `read_timeout`
        seconds counts as disconnected. None means no timeout.
        """
        self._home, self._connect_timeout, self._read_timeout = home, connect_timeout, read_timeout
        self._closed = threading.Event()
        self._idle: list[BlockingConnection] = []
        self._connections: set[BlockingConnection] = set()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the server and return its result.

        Raises:
            NoSupervisor: No server is listening.
            Disconnected: The connection has ended before the response. The method may have been carried out.
            BackburnerError: The server has refused the call.
        """
        connection = self._acquire()
        try:
            return connection.call(method, params)
        finally:
            self._release(connection)

    def events(
        self,
        parent: str,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str | None = None,
        ack: bool = False,
    ) -> Iterator[Event]:
        """Yield the events of a parent session, or of all sessions (`*`), until `close`. Reconnect when necessary.

        The first event is the first after the number `after`. By default, it is the first that the consumer has not
        acknowledged. For `*`, it is the next new event. With `ack`, each event is acknowledged when the next one is
        requested. Raises InvalidInput.
        """
        cursor = SubscriptionCursor(parent, after, types, consumer)
        while not self._closed.is_set():
            with suppress(Temporary):
                connection = self._connect(None, cursor.backoff)
                try:
                    yield from _events(connection, cursor, ack)
                finally:
                    self._discard(connection)
            self._closed.wait(cursor.backoff.next_delay())

    def close(self) -> None:
        """Disconnect. Calls in other threads raise Disconnected, and their iterations over `events` end."""
        self._closed.set()
        for connection in list(self._connections):
            connection.shutdown()
        while self._idle:
            self._discard(self._idle.pop())

    def _acquire(self) -> BlockingConnection:
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                connection = self._idle.pop()
                if not connection.is_stale:
                    return connection
                self._discard(connection)
        return self._connect(self._connect_timeout, Backoff())

    def _release(self, connection: BlockingConnection) -> None:
        if connection.busy or self._closed.is_set() or len(self._idle) >= MAX_IDLE:
            self._discard(connection)
        else:
            self._idle.append(connection)

    def _connect(self, timeout: float | None, backoff: Backoff) -> BlockingConnection:
        """Connect as soon as a server listens. Raises NoSupervisor after the timeout, and Disconnected once closed."""
        deadline = None if timeout is None else clock.monotonic() + timeout
        while (connection := self._try_to_connect()) is None:
            if deadline is not None and clock.monotonic() >= deadline:
                raise NoSupervisor(f"No supervisor is running for {self._home.folder}.")
            self._closed.wait(backoff.next_delay())
        return connection

    def _try_to_connect(self) -> BlockingConnection | None:
        if self._closed.is_set():
            raise Disconnected("The client is closed.")
        try:
            connection = BlockingConnection(self._home.bus, self._read_timeout)
        except OSError:
            return None
        self._connections.add(connection)
        if self._closed.is_set():  # by another thread, which may have missed this connection
            connection.shutdown()
        return connection

    def _discard(self, connection: BlockingConnection) -> None:
        self._connections.discard(connection)
        connection.close()


class BlockingConnection:
    """One blocking connection to the server."""

    def __init__(self, path: str, read_timeout: float | None = None) -> None:
        """Connect. A server that is silent for `read_timeout` seconds counts as disconnected. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(read_timeout)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._rpc = RpcConnection()
        #: True while a call has no response yet.
        self.busy = False

    @property
    def is_stale(self) -> bool:
        """Return True if the server has disconnected, so that it cannot carry out another call."""
        return _is_readable(self._socket)

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Call a method and return its result. Raises Disconnected, or the error in the response."""
        number, line = self._rpc.encode_call(method, params)
        self.busy = True
        try:
            with failpoint("client.send"):
                self._socket.sendall(line)
        except OSError as error:
            raise Disconnected from error
        while not self._rpc.has_response(number):
            self._receive()
        self.busy = False
        return self._rpc.result(number)

    def next_notification(self) -> Notification:
        """Wait for the next notification and return it. Raises Disconnected."""
        while (notification := self._rpc.next_notification()) is None:
            self._receive()
        return notification

    def shutdown(self) -> None:
        """Disconnect, so that a call in another thread raises Disconnected at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except OSError as error:
            raise Disconnected from error
        self._rpc.receive(data)


def _events(connection: BlockingConnection, cursor: SubscriptionCursor, ack: bool) -> Iterator[Event]:
    cursor.subscribed(connection.call("subscribe", cursor.subscription))
    while True:
        if ack and cursor.pending_ack is not None:
            connection.call("ack", cursor.pending_ack)
            cursor.acknowledged()
        yield cursor.received(connection.next_notification())


def _raised_by_server(refusal: RpcError) -> BackburnerError:
    """Return the error of a response as an instance of the class for its code."""
    kind = _ERRORS.get(refusal.rpc_code)
    return refusal if kind is None else kind(str(refusal), field=refusal.field)


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
