"""The server's end of the bus: requests in, answers and events out, for many clients on one thread."""

from __future__ import annotations

import json
import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, BaseSelector
from typing import Any, Final, NamedTuple

from .. import clock
from ..errors import BackburnerError, InvalidInput, OverCap, Temporary
from ..failpoints import failpoint
from ..home import Home
from ..model.event import ALL_SESSIONS, Line
from ..store.interface import EventStore
from ..validation import Record
from . import jsonrpc
from .connection import LOW, Call, Connection, Subscription
from .jsonrpc import Request, RpcError
from .protocol import PARAMETERS

#: Events read from the log at a time, and how often for one client before the others have their turn.
PAGE = 64
PAGES = 4
#: Clients accepted in one turn.
ACCEPTED = 64

#: What one client may hold.
CALLS = 1024
SUBSCRIPTIONS = 16 * 1024
#: Descriptors that are never given to clients: the database, pipes, and the like.
KEPT_BACK = 64


class Method(NamedTuple):
    """One entry of the table of methods: what it takes, and what does it.

    The handler returns the result, or LATER, and then answers its Call itself; it raises BackburnerError.
    """

    params: Record
    handler: Callable[[dict[str, Any], Call], object]


#: What a handler returns that will answer its call later.
LATER: Final = object()


class Bus:
    """The socket of a home. Whoever owns the selector calls what it returns: `key.data(mask)`."""

    def __init__(self, selector: BaseSelector, home: Home, log: EventStore, methods: Mapping[str, Method]) -> None:
        """Serve `methods`, and subscriptions to `log`; `open` starts it."""
        self._selector, self._home, self._log = selector, home, log
        self._methods = {**methods, **self._own_methods()}
        self._connections: set[Connection] = set()
        self._audience: dict[str, dict[Subscription, None]] = {}
        self._listener: socket.socket | None = None
        self._accepting = False
        self._bound: tuple[int, int] | None = None
        self._spare: int | None = None

    @property
    def connections(self) -> int:
        """How many clients there are."""
        return len(self._connections)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions they hold."""
        return sum(map(len, self._audience.values()))

    @property
    def methods(self) -> Mapping[str, Method]:
        """All that can be asked for."""
        return self._methods

    def open(self) -> None:
        """Bind beside and rename over, so that there is never a moment without a socket. Raises OSError."""
        self._listener = _bind(Path(self._home.short("bus.new")), Path(self._home.bus))
        self._bound = _identity(Path(self._home.bus))
        self._resume()

    def close(self) -> None:
        """Send what the clients take at once, hang up, and remove the socket if it is still this one."""
        for connection in list(self._connections):
            connection.settle()
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
        """Send events that are new in the log to their subscribers, in order and without a gap."""
        receivers: dict[Connection, None] = {}
        for line in lines if self._audience else ():
            for subscription in self._subscribers(line):
                self._deliver(subscription, line)
                receivers[subscription.connection] = None
        for connection in receivers:
            connection.settle()
        self._resume()

    def answer(self, connection: Connection, line: bytes) -> None:
        """Serve one request; whatever goes wrong is told to its client alone."""
        try:
            request = jsonrpc.decode_request(line)
        except RpcError as error:
            connection.queue(jsonrpc.encode_error(error.id, error))
            return
        call = Call(connection, request)
        try:
            if (result := self._run(request, call)) is not LATER:
                call.answer(result)
        except BackburnerError as error:
            call.fail(error)
        except Exception:
            logging.getLogger("backburner").exception("the method %r failed", request.method)
            call.fail(RpcError(jsonrpc.INTERNAL_ERROR, "Something went wrong in the server; its log says what."))

    def stream(self, connection: Connection) -> None:
        """Give the subscriptions that lag something to send, in turns."""
        for _ in range(PAGES):
            if not (connection.lagging and connection.low):
                return
            subscription = connection.lagging.popleft()
            try:
                subscription.lagging = self._read_page(subscription)
            except Exception:
                logging.getLogger("backburner").exception("the event log cannot be read")
                connection.refuse(Temporary("The event log cannot be read; come again."))
                return
            if subscription.lagging:
                connection.lagging.append(subscription)

    def leave(self, connection: Connection) -> None:
        """End a client's subscriptions and calls."""
        for subscription in connection.subscriptions:
            self._mute(subscription)
        connection.subscriptions.clear()
        connection.lagging.clear()
        for call in list(connection.calls):
            call.close()

    def gone(self, connection: Connection) -> None:
        """Forget a client."""
        self._connections.discard(connection)
        self._resume()

    def _own_methods(self) -> dict[str, Method]:
        return {
            "subscribe": Method(PARAMETERS["subscribe"], self._subscribe),
            "unsubscribe": Method(PARAMETERS["unsubscribe"], self._unsubscribe),
            "ack": Method(PARAMETERS["ack"], self._acknowledge),
        }

    def _run(self, request: Request, call: Call) -> object:
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(jsonrpc.METHOD_NOT_FOUND, "There is no such method.")
        if len(call.connection.calls) > CALLS:
            raise Temporary(f"At most {CALLS} requests of one connection can be open.")
        return method.handler(method.params.check(request.params), call)

    def _subscribe(self, params: dict[str, Any], call: Call) -> object:
        connection = call.connection
        if len(connection.subscriptions) >= SUBSCRIPTIONS:
            raise OverCap(f"One connection holds at most {SUBSCRIPTIONS} subscriptions.")
        answer: dict[str, Any] = {"seq": self._log.last_seq(), "log": self._log.id()}
        types = params.get("types")
        start = self._start(params, answer["seq"])
        subscription = Subscription(
            connection,
            params["parentSessionId"],
            _consumer(params),
            None if types is None else frozenset(types),
            0 if start is None else start,
            lost=start is None,
        )
        connection.subscriptions.append(subscription)
        self._audience.setdefault(subscription.parent, {})[subscription] = None
        subscription.lag()
        return answer

    def _start(self, params: dict[str, Any], last: int) -> int | None:
        """Where a subscription begins; None for one whose number this log never gave: it is another one's."""
        parent, after = params["parentSessionId"], params.get("after")
        if after is not None:
            return int(after) if after <= last else None
        return last if parent == ALL_SESSIONS else self._log.cursor(parent, _consumer(params))

    def _unsubscribe(self, params: dict[str, Any], call: Call) -> object:
        """End the newest subscription of that parent and consumer, if there is one."""
        wanted = (params["parentSessionId"], _consumer(params))
        for subscription in reversed(call.connection.subscriptions):
            if (subscription.parent, subscription.consumer) == wanted:
                self._mute(subscription)
                call.connection.subscriptions.remove(subscription)
                if subscription.lagging:
                    call.connection.lagging.remove(subscription)
                return {"ended": True}
        return {"ended": False}

    def _acknowledge(self, params: dict[str, Any], call: Call) -> object:
        """Move a cursor forward, never beyond the log's end; the answer says where it is."""
        parent = params["parentSessionId"]
        if parent == ALL_SESSIONS:
            raise InvalidInput("What everyone is told cannot be acknowledged.", field="parentSessionId")
        return {"seq": self._log.acknowledge(parent, _consumer(params), params["seq"])}

    def _subscribers(self, line: Line) -> Iterator[Subscription]:
        yield from self._audience.get(ALL_SESSIONS, ())
        if line.parent is not None and line.parent != ALL_SESSIONS:
            yield from self._audience.get(line.parent, ())

    def _deliver(self, subscription: Subscription, line: Line) -> None:
        if subscription.lagging or line.seq <= subscription.cursor:
            return
        if subscription.connection.full:
            subscription.lag()
        else:
            subscription.deliver(line)

    def _read_page(self, subscription: Subscription) -> bool:
        """Send as much of the log's next page as there is room for. Whether there may be more."""
        page, is_all = self._log.page(subscription.concerned, subscription.cursor, PAGE, LOW)
        self._warn_of_a_gap(subscription, page)
        for line in page:
            if subscription.connection.full:
                return True
            subscription.deliver(line)
        return not is_all

    def _warn_of_a_gap(self, subscription: Subscription, page: Sequence[Line]) -> None:
        """Say so if what comes next was pruned; asked after the page was read, or pruning might slip in."""
        first = self._log.truncated(subscription.concerned, subscription.cursor)
        if subscription.lost and first is None:
            first = 1
        subscription.lost = False
        if first is None or (page and page[0].seq < first):
            return
        subscription.cursor = max(subscription.cursor, first - 1)
        subscription.connection.queue(_log_truncated(subscription, first))

    def _mute(self, subscription: Subscription) -> None:
        audience = self._audience[subscription.parent]
        del audience[subscription]
        if not audience:
            del self._audience[subscription.parent]

    def _accept(self, ready: int) -> None:
        assert self._listener is not None
        for _ in range(ACCEPTED):
            try:
                client, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._shed()
                return
            self._welcome(client)

    def _shed(self) -> None:
        """Out of descriptors: a client left waiting would be reported again and again, so refuse it."""
        assert self._listener is not None
        self._close_spare()
        with suppress(OSError):
            client, _address = self._listener.accept()
            client.close()
        self._open_spare()
        if self._spare is None:
            self._pause()

    def _welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        if not _same_user(client):
            client.close()
        elif self._crowded():
            full = Temporary("There are too many connections; try again later.")
            with suppress(OSError), failpoint("bus.refuse"):
                client.send(jsonrpc.encode_error(None, full))
            client.close()
        else:
            connection = Connection(client, self._selector, self)
            self._connections.add(connection)
            connection.settle()

    def _crowded(self) -> bool:
        """Whether no client can be taken on, once those were let go that left without being noticed."""
        if self.connections < _most_clients():
            return False
        for connection in [known for known in self._connections if known.hung_up]:
            connection.close()
        return self.connections >= _most_clients()

    def _resume(self) -> None:
        """Take new clients on, as long as a descriptor can be held in reserve."""
        if self._accepting or self._listener is None:
            return
        self._open_spare()
        if self._spare is not None:
            self._selector.register(self._listener, EVENT_READ, self._accept)
            self._accepting = True

    def _pause(self) -> None:
        if self._accepting and self._listener is not None:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _open_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _close_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


def peer_uid(client: socket.socket) -> int:
    """The user at the other end. Raises OSError."""
    if sys.platform == "linux":
        _pid, uid, _gid = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:  # struct xucred, by LOCAL_PEERCRED of SOL_LOCAL
        _version, uid = struct.unpack_from("II", client.getsockopt(0, 1, 76))
    return int(uid)


def _same_user(client: socket.socket) -> bool:
    try:
        return peer_uid(client) == os.geteuid()
    except OSError:  # it has gone already
        return False


def _consumer(params: Mapping[str, Any]) -> str:
    return params.get("consumer") or "default"


def _log_truncated(subscription: Subscription, first: int) -> bytes:
    """The event that says what is lost; who goes on after its `seq` gets all that is kept."""
    event = {
        "seq": first - 1,
        "type": "log_truncated",
        "at": clock.iso(clock.now()),
        "parentSessionId": subscription.concerned,
        "firstSeq": first,
    }
    return jsonrpc.encode_notification("log_truncated", json.dumps(event))


def _most_clients() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(1, soft - KEPT_BACK)


def _bind(beside: Path, place: Path) -> socket.socket:
    """A listening socket at `place`, for its owner alone."""
    with failpoint("bus.beside.unlink"):
        beside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(beside))
        beside.chmod(0o600)
        listener.listen(1024)
        listener.setblocking(False)
        with failpoint("bus.rename"):
            beside.rename(place)
    except OSError:
        listener.close()
        raise
    return listener


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
