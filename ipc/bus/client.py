"""The client's end of the bus."""

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

#: The longest line that a server may send: a page of a thousand tasks, each with its longest result.
MAX_ANSWER = 256 * 1024 * 1024
#: What is read from a socket at a time, in bytes.
CHUNK = 64 * 1024
#: Connections that are kept for the next call.
KEPT = 4

_ERRORS: Mapping[int, type[BackburnerError]] = {
    error.rpc_code: error for error in (InvalidInput, NotFound, MoveNotAllowed, OverCap, Temporary)
}


def error_of(refusal: RpcError) -> BackburnerError:
    """The error that the server raised, as far as the wire tells."""
    kind = _ERRORS.get(refusal.rpc_code)
    return refusal if kind is None else kind(str(refusal), field=refusal.field)


class Dialogue:
    """One connection's messages, without its socket: numbers the questions and sorts what comes."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self._numbers = count(1)
        self._reader = LineReader(MAX_ANSWER)
        self._answers: dict[Id, Response] = {}
        self._notifications: deque[Notification] = deque()

    def ask(self, method: str, params: Mapping[str, Any]) -> tuple[int, bytes]:
        """A request's number, and what to send. Raises InvalidInput for what is no JSON, or too long."""
        number = next(self._numbers)
        try:
            frame = jsonrpc.encode_request(number, method, params)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"That cannot be sent: {error}.") from None
        if len(frame) > MAX_LINE + 1:
            raise InvalidInput(f"A request has at most {MAX_LINE} bytes.")
        return number, frame

    def hear(self, data: bytes) -> None:
        """Take what came; nothing is the end. Raises Disconnected, also where the server talks nonsense."""
        if not data:
            raise Disconnected
        self._reader.feed(data)
        try:
            for message in map(jsonrpc.decode_message, self._reader.lines()):
                self._sort(message)
        except (RpcError, LineTooLong) as error:
            raise Disconnected(f"The bus sent what is no message: {error}") from None

    def answered(self, number: int) -> bool:
        """Whether the answer has come."""
        return number in self._answers

    def answer(self, number: int) -> Any:
        """The result. Raises what the server raised."""
        response = self._answers.pop(number)
        if response.error is not None:
            raise error_of(response.error)
        return response.result

    def notification(self) -> Notification | None:
        """What was told next, if anything was."""
        return self._notifications.popleft() if self._notifications else None

    def _sort(self, message: Response | Notification) -> None:
        if isinstance(message, Notification):
            self._notifications.append(message)
        elif message.id is None and message.error is not None:  # it concerns the connection, which ends now
            raise Disconnected(str(message.error))
        else:
            self._answers[message.id] = message


class Listener:
    """What a subscriber remembers, so that it can go on after a break without a gap or a repetition."""

    def __init__(self, parent: str, after: int | None, types: Sequence[str] | None, consumer: str | None) -> None:
        """Begin after a number, or where the consumer's cursor is."""
        self._parent, self._after, self._consumer = parent, after, consumer
        self._types = None if types is None else list(types)
        self._log: str | None = None
        self._owed: int | None = None
        self.backoff = Backoff()

    @property
    def subscription(self) -> dict[str, Any]:
        """The parameters of `subscribe`, now."""
        said = {"after": self._after, "types": self._types, "consumer": self._consumer}
        known = {name: value for name, value in said.items() if value is not None}
        return {"parentSessionId": self._parent, **known}

    @property
    def owed(self) -> dict[str, Any] | None:
        """The parameters of `ack` for the last event, as long as nobody has said that the bus took it."""
        named = {} if self._consumer is None else {"consumer": self._consumer}
        return None if self._owed is None else {"parentSessionId": self._parent, "seq": self._owed, **named}

    def acknowledged(self) -> None:
        """The bus took it."""
        self._owed = None

    def began(self, answer: Mapping[str, Any]) -> None:
        """Take the answer to `subscribe`. Raises Disconnected where it is about another log than before.

        The numbers remembered mean nothing there: the next subscription is to all of it.
        """
        known, self._log = self._log, answer["log"]
        if known not in (None, self._log):
            self._after, self._owed = 0, None
            raise Disconnected("The home has another event log than before.")
        if self._after is None and self._parent == ALL_SESSIONS:
            self._after = answer["seq"]
        self.backoff.reset()

    def heard(self, notification: Notification) -> Event:
        """The event, which need not come again. Raises Disconnected where it is none."""
        try:
            event = Event.from_json(notification.params)
        except (KeyError, TypeError, ValueError) as error:
            raise Disconnected(f"The bus sent what is no event: {error!r}") from None
        self._after = self._owed = event.seq
        return event


class Client:
    """Speaks to the bus of a home, and blocks meanwhile. May be shared by threads."""

    def __init__(self, home: Home, patience: float | None = 0.0, silence: float | None = None) -> None:
        """Connect when needed; `call` waits up to `patience` seconds for a bus, None: for ever.

        A bus that says nothing for `silence` seconds is one that is gone (None: it may take its time).
        """
        self._home, self._patience, self._silence = home, patience, silence
        self._closed = threading.Event()
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, method: str, **params: Any) -> Any:
        """Ask, and wait for the result.

        Raises what the server raised, NoSupervisor when there is no bus, Disconnected when it goes away
        before it has answered: whether the request was carried out is not known then.
        """
        wire = self._take()
        try:
            return wire.call(method, params)
        finally:
            self._give(wire)

    def events(
        self,
        parent: str,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str | None = None,
        ack: bool = False,
    ) -> Iterator[Event]:
        """The events of a parent (`*`: all) for ever, over breaks and restarts, until `close`.

        Without `after` they begin where the consumer's cursor is, for `*` with what is new. With `ack` each
        is acknowledged when the next one is asked for. Raises InvalidInput.
        """
        listener = Listener(parent, after, types, consumer)
        while not self._closed.is_set():
            with suppress(Temporary):
                wire = self._connect(None, listener.backoff)
                try:
                    yield from _listen(wire, listener, ack)
                finally:
                    self._drop(wire)
            self._closed.wait(listener.backoff.next_delay())

    def close(self) -> None:
        """Hang up; whoever waits in `call` gets Disconnected, and `events` end."""
        self._closed.set()
        for wire in list(self._wires):
            wire.hang_up()
        while self._idle:
            self._drop(self._idle.pop())

    def _take(self) -> Wire:
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                wire = self._idle.pop()
                if not wire.stale:
                    return wire
                self._drop(wire)
        return self._connect(self._patience, Backoff())

    def _give(self, wire: Wire) -> None:
        if wire.busy or self._closed.is_set() or len(self._idle) >= KEPT:
            self._drop(wire)
        else:
            self._idle.append(wire)

    def _connect(self, patience: float | None, backoff: Backoff) -> Wire:
        """A new connection, as soon as there is a bus. Raises NoSupervisor, and Disconnected once closed."""
        until = None if patience is None else clock.monotonic() + patience
        while (wire := self._try()) is None:
            if until is not None and clock.monotonic() >= until:
                raise no_supervisor(self._home)
            self._closed.wait(backoff.next_delay())
        return wire

    def _try(self) -> Wire | None:
        if self._closed.is_set():
            raise Disconnected("The client was closed.")
        try:
            wire = Wire(self._home.bus, self._silence)
        except OSError:
            return None
        self._wires.add(wire)
        if self._closed.is_set():  # by another thread, which may not have seen this wire
            wire.hang_up()
        return wire

    def _drop(self, wire: Wire) -> None:
        self._wires.discard(wire)
        wire.close()


class Wire:
    """One blocking connection."""

    def __init__(self, path: str, silence: float | None = None) -> None:
        """Connect; who says nothing for `silence` seconds is gone. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(silence)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._dialogue = Dialogue()
        #: Whether a question was asked and its answer has not been heard.
        self.busy = False

    @property
    def stale(self) -> bool:
        """Whether the server hung up; what would be asked now would certainly not be carried out."""
        return _readable(self._socket)

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask, and wait for the result. Raises Disconnected, and what the server raised."""
        number, frame = self._dialogue.ask(method, params)
        self.busy = True
        try:
            with failpoint("client.send"):
                self._socket.sendall(frame)
        except OSError as error:
            raise Disconnected from error
        while not self._dialogue.answered(number):
            self._hear()
        self.busy = False
        return self._dialogue.answer(number)

    def next(self) -> Notification:
        """Wait for what is told next. Raises Disconnected."""
        while (notification := self._dialogue.notification()) is None:
            self._hear()
        return notification

    def hang_up(self) -> None:
        """Wake whoever waits in another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _hear(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except OSError as error:
            raise Disconnected from error
        self._dialogue.hear(data)


def no_supervisor(home: Home) -> NoSupervisor:
    """The error of one who found no bus."""
    return NoSupervisor(f"No supervisor is running for {home.folder}.")


def _listen(wire: Wire, listener: Listener, ack: bool) -> Iterator[Event]:
    listener.began(wire.call("subscribe", listener.subscription))
    while True:
        if ack and listener.owed is not None:
            wire.call("ack", listener.owed)
            listener.acknowledged()
        yield listener.heard(wire.next())


def _readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
