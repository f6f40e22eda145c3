"""A bus on a thread, with an event log in memory, and a client that can send any bytes."""

from __future__ import annotations

import json
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from backburner.ipc.bus.jsonrpc import encode_notification
from backburner.ipc.bus.methods import Method
from backburner.ipc.bus.server import Bus
from backburner.ipc.errors import InvalidInput
from backburner.ipc.home import Home
from backburner.ipc.model.event import Line
from backburner.ipc.store.interface import EventStore
from tests.helpers.rpc import ConnectionClosed, RpcClient

T = TypeVar("T")

#: Seconds after which a test fails because something has not happened.
TIMEOUT = 20.0

AT = "2026-01-01T00:00:00.000Z"


class MemoryLog:
    """The interface of the event log, in memory."""

    def __init__(self, name: str = "log-1") -> None:
        self.name = name
        self.lines: list[Line] = []
        self.cursors: dict[tuple[str, str], int] = {}
        self.pruned: dict[str | None, int] = {}
        self.pages = 0
        self._seq = 0

    def id(self) -> str:
        return self.name

    def last_seq(self) -> int:
        return self._seq

    def append(self, parent: str | None, type: str = "background_task_started", **data: Any) -> Line:
        self._seq += 1
        head = {"seq": self._seq, "type": type, "at": AT, "parentSessionId": parent}
        frame = encode_notification(type, json.dumps(head | data, ensure_ascii=False))
        line = Line(self._seq, type, parent, frame)
        self.lines.append(line)
        return line

    def prune(self, parent: str | None, seq: int) -> None:
        self.lines = [line for line in self.lines if line.seq > seq]
        self.pruned[parent] = seq

    def page(self, parent: str | None, after: int, limit: int, room: int = 0) -> tuple[list[Line], bool]:
        self.pages += 1
        lines = list(self.lines)
        matching = (line for line in lines if line.seq > after and parent in (None, line.parent))
        found = [line for line, _ in zip(matching, range(limit), strict=False)]
        return found, len(found) < limit

    def cursor(self, parent: str, consumer: str) -> int:
        return self.cursors.get((parent, consumer), 0)

    def acknowledge(self, parent: str, consumer: str, seq: int) -> int:
        if seq > self._seq:
            raise InvalidInput("That is beyond the log's end.", field="seq")
        self.cursors[parent, consumer] = max(seq, self.cursor(parent, consumer))
        return self.cursors[parent, consumer]

    def truncated(self, parent: str | None, after: int) -> int | None:
        gone = self.pruned.get(parent, 0)
        return gone + 1 if gone > after else None


class ServedBus:
    """A bus on a selector loop in its own thread."""

    def __init__(self, home: Home, log: MemoryLog, methods: Mapping[str, Method]) -> None:
        self.home, self.log = home, log
        self._selector = selectors.DefaultSelector()
        self._wakeups, self._waker = socket.socketpair()
        self._functions: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._selector.register(self._wakeups, selectors.EVENT_READ, self._run_function)
        self.bus = Bus(self._selector, home, cast(EventStore, log), methods)
        self.turns = 0
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self.bus.open()
        self._thread.start()

    def stop(self) -> None:
        self.run(self._end)
        self._thread.join(TIMEOUT)
        self.bus.close()
        self._selector.close()
        self._wakeups.close()
        self._waker.close()

    def run(self, function: Callable[[], T]) -> T:
        """Run a function on the thread of the bus, the only one that may use the bus. Return or raise what it does."""
        answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((function(), None))
            except BaseException as error:  # raised again by the waiting thread
                answers.put((None, error))

        self._functions.put(run)
        self._waker.send(b".")
        result, error = answers.get(timeout=TIMEOUT)
        if error is not None:
            raise error
        return cast(T, result)

    def publish(self, parent: str | None, type: str = "background_task_started", **data: Any) -> int:
        """Append an event and publish it, as the flusher does."""

        def append() -> int:
            line = self.log.append(parent, type, **data)
            self.bus.publish([line])
            return line.seq

        return self.run(append)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, turn by turn, until a condition is true."""
        for _ in range(100_000):
            if self.run(condition):
                return
        raise AssertionError("the condition never became true")

    def _end(self) -> None:
        self._ended = True

    def _run_function(self, ready: int) -> None:
        self._wakeups.recv(1)
        self._functions.get()()

    def _serve(self) -> None:
        while not self._ended:
            self.turns += 1
            for key, ready in self._selector.select():
                key.data(ready)


class Peer(RpcClient):
    """A client that can send any bytes. It drops no message, so their order can be tested."""

    def __init__(self, path: str) -> None:
        super().__init__(path, TIMEOUT)

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> dict[str, Any]:
        """Return the next message, or {} if the server has closed the connection."""
        try:
            return super().receive()
        except ConnectionClosed:
            return {}

    def call(self, method: str, **params: Any) -> Any:
        """Send a request and return its result or error. The next message must be the response."""
        number = self.send(method, **params)
        response = self.receive()
        assert response.get("id") == number, response
        return response.get("error") or response["result"]

    def seqs(self, number: int) -> list[int]:
        """Return the numbers of that many next events."""
        return [self.receive()["params"]["seq"] for _ in range(number)]


@contextmanager
def serving(home: Home, log: MemoryLog, methods: Mapping[str, Method]) -> Iterator[ServedBus]:
    """Serve a bus until the end of the block."""
    served = ServedBus(home, log, methods)
    served.start()
    try:
        yield served
    finally:
        served.stop()
