"""A bus that is served on a thread, over a log in memory, and clients that speak it byte by byte."""

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
from backburner.ipc.bus.server import Bus, Method
from backburner.ipc.errors import InvalidInput
from backburner.ipc.home import Home
from backburner.ipc.model.event import Line
from backburner.ipc.store.interface import EventStore

T = TypeVar("T")

#: How long a test waits for a moment that should come at once, in seconds.
PATIENCE = 20.0

AT = "2026-01-01T00:00:00.000Z"


class MemoryLog:
    """The event log's interface, in memory."""

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
        concerned = (line for line in lines if line.seq > after and parent in (None, line.parent))
        found = [line for line, _ in zip(concerned, range(limit), strict=False)]
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


class Served:
    """A bus on a selector loop in a thread of its own."""

    def __init__(self, home: Home, log: MemoryLog, methods: Mapping[str, Method]) -> None:
        self.home, self.log = home, log
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._errands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._selector.register(self._bell, selectors.EVENT_READ, self._run_errand)
        self.bus = Bus(self._selector, home, cast(EventStore, log), methods)
        self.turns = 0
        self._over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self.bus.open()
        self._thread.start()

    def stop(self) -> None:
        self.do(self._end)
        self._thread.join(PATIENCE)
        self.bus.close()
        self._selector.close()
        self._bell.close()
        self._ring.close()

    def do(self, errand: Callable[[], T]) -> T:
        """Run something on the bus's thread, where alone it may be touched."""
        answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((errand(), None))
            except BaseException as error:  # handed over to the one who waits
                answers.put((None, error))

        self._errands.put(run)
        self._ring.send(b".")
        result, error = answers.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return cast(T, result)

    def tell(self, parent: str | None, type: str = "background_task_started", **data: Any) -> int:
        """Append an event and tell it, as the flusher does."""

        def append() -> int:
            line = self.log.append(parent, type, **data)
            self.bus.publish([line])
            return line.seq

        return self.do(append)

    def until(self, state: Callable[[], bool]) -> None:
        """Wait until the bus is in a state; turn by turn, since each turn may bring it."""
        for _ in range(100_000):
            if self.do(state):
                return
        raise AssertionError("the bus never came into that state")

    def _end(self) -> None:
        self._over = True

    def _run_errand(self, ready: int) -> None:
        self._bell.recv(1)
        self._errands.get()()

    def _serve(self) -> None:
        while not self._over:
            self.turns += 1
            for key, ready in self._selector.select():
                key.data(ready)


class Peer:
    """A client that speaks byte by byte."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self._lines = self.socket.makefile("rb")
        self._number = 0

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, method: str, **params: Any) -> int:
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.send(json.dumps(message).encode() + b"\n")
        return self._number

    def hear(self) -> dict[str, Any]:
        """The next message; {} at the end."""
        line = self._lines.readline()
        return dict(json.loads(line)) if line else {}

    def call(self, method: str, **params: Any) -> Any:
        """Ask, and expect the very next message to be the answer."""
        number = self.ask(method, **params)
        answer = self.hear()
        assert answer.get("id") == number, answer
        return answer.get("error") or answer["result"]

    def seqs(self, number: int) -> list[int]:
        """The numbers of the next events."""
        return [self.hear()["params"]["seq"] for _ in range(number)]

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@contextmanager
def serving(home: Home, log: MemoryLog, methods: Mapping[str, Method]) -> Iterator[Served]:
    """Serve a bus for a while."""
    served = Served(home, log, methods)
    served.start()
    try:
        yield served
    finally:
        served.stop()
