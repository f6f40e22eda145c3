"""The server: receives requests from many clients on one thread, and sends them responses and events."""

from __future__ import annotations

import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, BaseSelector

from .. import clock
from ..errors import BackburnerError, Temporary
from ..failpoints import failpoint
from ..home import Home
from ..model.event import Line
from ..store.interface import EventStore
from . import jsonrpc
from .connection import Call, Connection
from .jsonrpc import Request, RpcError
from .methods import DEFERRED, Method
from .subscriptions import Subscriptions

#: The maximum number of clients accepted in one turn.
ACCEPTS_PER_TURN = 64

#: The maximum number of unanswered calls of one connection.
MAX_CALLS = 1024

#: Seconds between two checks that the socket exists.
CHECK_INTERVAL = 1.0

#: The number of file descriptors that are kept free for the database, pipes and other files.
RESERVED_DESCRIPTORS = 64


class Bus:
    """The socket of a home. The caller runs the selector, and calls `key.data(mask)` for each of its events."""

    def __init__(self, selector: BaseSelector, home: Home, log: EventStore, methods: Mapping[str, Method]) -> None:
        """Serve these methods and subscriptions to this log, after `open`."""
        self._selector, self._home = selector, home
        self._subscriptions = Subscriptions(log)
        self._methods = {**methods, **self._subscriptions.methods()}
        self._connections: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._accepting = False
        #: The time of the last check that the socket exists (seconds, monotonic).
        self._checked_at = 0.0
        self._bound: tuple[int, int] | None = None
        self._spare_descriptor: int | None = None

    @property
    def connections(self) -> int:
        """Return the number of clients."""
        return len(self._connections)

    @property
    def subscriptions(self) -> int:
        """Return the number of subscriptions of all clients."""
        return len(self._subscriptions)

    @property
    def methods(self) -> Mapping[str, Method]:
        """Return all methods by name."""
        return self._methods

    def open(self) -> None:
        """Bind, and start to accept clients. Raises OSError.

        The socket replaces the socket of an earlier server by a rename, so that the path always leads to a socket.
        """
        self._listener = _bind(Path(self._home.short("bus.new")), Path(self._home.bus))
        self._bound = _identity(Path(self._home.bus))
        self._resume()

    def reopen_if_deleted(self) -> None:
        """Bind again if the socket was deleted. Clients that are connected stay connected. Raises Temporary."""
        now = clock.monotonic()
        if now < self._checked_at + CHECK_INTERVAL or self._listener is None:
            return
        self._checked_at = now
        if not _is_missing(self._home.bus) or not self._home.id:
            return
        earlier = self._listener
        self._pause()
        try:
            self.open()
        except OSError as error:
            raise Temporary(f"The socket {self._home.bus} cannot be created now: {error.strerror}.") from error
        earlier.close()

    def close(self) -> None:
        """Disconnect all clients, and remove the socket unless another server has replaced it.

        Data that a client cannot receive at once is dropped.
        """
        for connection in list(self._connections):
            connection.flush()
            connection.close()
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._bound is not None and _identity(Path(self._home.bus)) == self._bound:
            with failpoint("bus.unlink"):
                Path(self._home.bus).unlink(missing_ok=True)
        self._close_spare()

    def publish(self, lines: Iterable[Line]) -> None:
        """Send new events of the log to their subscribers, in order and without gaps."""
        self._subscriptions.publish(lines)
        self._resume()

    def answer(self, connection: Connection, line: bytes) -> None:
        """Answer one request. A failure affects only its client."""
        try:
            request = jsonrpc.decode_request(line)
        except RpcError as error:
            connection.queue(jsonrpc.encode_error(error.id, error))
            return
        call = Call(connection, request)
        try:
            if (result := self._run(request, call)) is not DEFERRED:
                call.answer(result)
        except BackburnerError as error:
            call.fail(error)
        except Exception:
            logging.getLogger("backburner").exception("the method %r failed", request.method)
            call.fail(RpcError(jsonrpc.INTERNAL_ERROR, "Something went wrong in the server; see its log."))

    def catch_up(self, connection: Connection) -> None:
        """Send a client some of the events that it has not received yet."""
        self._subscriptions.catch_up(connection)

    def release(self, connection: Connection) -> None:
        """End the subscriptions and calls of a client."""
        self._subscriptions.drop_all(connection)
        for call in list(connection.calls):
            call.close()

    def forget(self, connection: Connection) -> None:
        """Forget a client that has been disconnected."""
        self._connections.discard(connection)
        self._resume()

    def _run(self, request: Request, call: Call) -> object:
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(jsonrpc.METHOD_NOT_FOUND, "There is no such method.")
        if len(call.connection.calls) > MAX_CALLS:
            raise Temporary(f"At most {MAX_CALLS} requests of one connection can be open.")
        return method.handler(method.params.check(request.params), call)

    def _accept(self, ready: int) -> None:
        assert self._listener is not None
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._reject_one()
                return
            self._add_client(client)

    def _reject_one(self) -> None:
        """Close the next connection, because no descriptor is left. The selector would report it again and again."""
        assert self._listener is not None
        self._close_spare()
        with suppress(OSError):
            client, _address = self._listener.accept()
            client.close()
        self._open_spare()
        if self._spare_descriptor is None:
            self._pause()

    def _add_client(self, client: socket.socket) -> None:
        client.setblocking(False)
        if not _is_same_user(client):
            client.close()
        elif self._at_capacity():
            full = Temporary("There are too many connections; try again later.")
            with suppress(OSError), failpoint("bus.refuse"):
                client.send(jsonrpc.encode_error(None, full))
            client.close()
        else:
            connection = Connection(client, self._selector, self)
            self._connections.add(connection)
            connection.flush()

    def _at_capacity(self) -> bool:
        """Return True if there is no room for another client, even after clients that have hung up are closed."""
        if self.connections < _max_clients():
            return False
        for connection in [client for client in self._connections if client.hung_up]:
            connection.close()
        return self.connections >= _max_clients()

    def _resume(self) -> None:
        """Accept clients, provided that a descriptor can be kept in reserve."""
        if self._accepting or self._listener is None:
            return
        self._open_spare()
        if self._spare_descriptor is not None:
            self._selector.register(self._listener, EVENT_READ, self._accept)
            self._accepting = True

    def _pause(self) -> None:
        if self._accepting and self._listener is not None:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _open_spare(self) -> None:
        if self._spare_descriptor is None:
            with suppress(OSError):
                self._spare_descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _close_spare(self) -> None:
        if self._spare_descriptor is not None:
            os.close(self._spare_descriptor)
            self._spare_descriptor = None


def peer_uid(client: socket.socket) -> int:
    """Return the ID of the user at the other end. Raises OSError."""
    if sys.platform == "linux":
        _pid, uid, _gid = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:  # struct xucred, by LOCAL_PEERCRED of SOL_LOCAL
        _version, uid = struct.unpack_from("II", client.getsockopt(0, 1, 76))
    return int(uid)


def _is_same_user(client: socket.socket) -> bool:
    try:
        return peer_uid(client) == os.geteuid()
    except OSError:  # the client has disconnected already
        return False


def _max_clients() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(1, soft - RESERVED_DESCRIPTORS)


def _bind(temporary: Path, path: Path) -> socket.socket:
    """Return a listening socket that only its owner can use: bound to a temporary path, then renamed to `path`."""
    with failpoint("bus.beside.unlink"):
        temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(1024)
        listener.setblocking(False)
        with failpoint("bus.rename"):
            temporary.rename(path)
    except OSError:
        listener.close()
        raise
    return listener


def _is_missing(path: str) -> bool:
    """Return True if there is no such file. A folder that cannot be read proves nothing."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
