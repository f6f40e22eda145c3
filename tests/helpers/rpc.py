"""A JSON-RPC client that shares no code with backburner's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from tests.helpers.wait import WaitTimeout, eventually


class Refused(Exception):
    """The server answered a request with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['message']} ({error['code']})")
        self.code: int = error["code"]


def encode_request(method: str, number: int = 1, **params: Any) -> bytes:
    """Return a JSON-RPC request as one line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


class ConnectionClosed(ConnectionError):
    """The server closed the connection between two messages, or in the middle of one."""


class RpcClient:
    """A JSON-RPC connection. Its methods raise OSError when the server closes it or `timeout` seconds have passed."""

    def __init__(self, path: Path | str, timeout: float = 10.0) -> None:
        """Connect to a Unix socket."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self._unread = b""
        self._number = 0
        try:  # with a timeout, connect() does not wait for room in the server's backlog
            eventually(lambda: self._connected(str(path)), timeout, f"room in the backlog of {path}")
        except WaitTimeout as error:
            self.close()
            raise TimeoutError(str(error)) from None
        except OSError:
            self.close()
            raise

    def _connected(self, path: str) -> bool:
        try:
            self.socket.connect(path)
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def fileno(self) -> int:
        """Return the descriptor, so that a selector can wait for it."""
        return self.socket.fileno()

    def send(self, method: str, **params: Any) -> int:
        """Send a request without waiting for its response, and return its id."""
        self._number += 1
        self.socket.sendall(encode_request(method, self._number, **params))
        return self._number

    def call(self, method: str, **params: Any) -> Any:
        """Send a request and return its result. Notifications that arrive first are dropped. Raises Refused."""
        number = self.send(method, **params)
        while (message := self.receive()).get("id") != number:
            pass
        if "error" in message:
            raise Refused(message["error"])
        return message["result"]

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        while b"\n" not in self._unread:
            self._unread += self._read()
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of every notification. Raises Refused if a request was answered with an error."""
        while True:
            message = self.receive()
            if "error" in message:
                raise Refused(message["error"])
            if "method" in message:
                yield message["params"]

    def receive_lines(self, count: int) -> list[bytes]:
        """Return at least `count` messages undecoded: decoding in between would distort a measurement."""
        pieces, lines = [self._unread], self._unread.count(b"\n")
        while lines < count:
            pieces.append(self._read())
            lines += pieces[-1].count(b"\n")
        *found, self._unread = b"".join(pieces).split(b"\n")
        return found

    def _read(self) -> bytes:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionClosed("the server closed the connection")
        return data


class Subscriber(threading.Thread):
    """Receives the events of a parent. After a lost connection it subscribes again from the last event on."""

    def __init__(
        self, path: Path, parent: str, handle: Callable[[dict[str, Any]], object], acknowledge_every: int = 0
    ) -> None:
        """Call `handle` with each event, and acknowledge each `acknowledge_every`th one; 0: none."""
        super().__init__(daemon=True)
        self.last_seq = 0
        self.connections = 0
        self._path, self._parent, self._on_event = path, parent, handle
        self._acknowledge_every = acknowledge_every
        self._received = 0
        self._closing = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Subscribe again and again until `close`. An exception ends the thread and is kept for `check`."""
        try:
            while not self._closing.is_set():
                self._subscribe()
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        """Raise RuntimeError if the thread has failed."""
        if self._failure is not None:
            raise RuntimeError("the subscriber failed") from self._failure

    def close(self, timeout: float = 30.0) -> None:
        """Wait up to `timeout` seconds for the thread to end."""
        self._closing.set()
        if self.is_alive():
            self.join(timeout)

    def _subscribe(self) -> None:
        try:
            with RpcClient(self._path, timeout=0.2) as client:
                client.send("subscribe", parentSessionId=self._parent, after=self.last_seq)
                self.connections += 1
                while not self._closing.is_set():
                    self._receive(client)
        except OSError:  # the server is dead, or not listening yet
            self._closing.wait(0.02)

    def _receive(self, client: RpcClient) -> None:
        try:
            message = client.receive()
        except TimeoutError:
            return
        if "error" in message:
            raise Refused(message["error"])
        if "method" in message:
            self._handle_event(message["params"], client)

    def _handle_event(self, event: dict[str, Any], client: RpcClient) -> None:
        self.last_seq = event["seq"]
        self._on_event(event)
        self._received += 1
        if self._acknowledge_every and self._received % self._acknowledge_every == 0:
            client.send("ack", parentSessionId=self._parent, seq=event["seq"])
