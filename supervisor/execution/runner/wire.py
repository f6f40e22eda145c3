"""Messages from the worker to its runner: orders for calls, and the hello that precedes them."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, NamedTuple

#: The longest order that is sent as a datagram, in bytes. A longer one is sent as the path of a file.
ORDER_LIMIT = 64 * 1024

_LENGTH = struct.Struct("!I")
_DECODER = json.JSONDecoder()

#: Separates the parts of an encoded order, because no JSON text contains it.
_SEPARATOR = "\0"


class Order(NamedTuple):
    """One attempt at a call.

    `args`, `kwargs`, `env` and `launcher_env` are JSON texts. Each may be empty or None. Null in `env` stands for the
    inherited value. Null in `launcher_env` stands for variables that the call does not inherit.
    """

    claim: int
    attempt: int
    id: str
    parent: str | None
    call: str
    args: str | None
    kwargs: str | None
    cwd: str
    env: str | None
    stdin: str | None
    leave_children: bool
    launcher_env: str | None = None
    umask: str | None = None


def encode_order(order: Order) -> bytes:
    """Encode an order to be sent or stored. Parts that are JSON already are not encoded again."""
    claim, attempt, id, parent, call, args, kwargs, cwd, env, stdin, leave_children, launcher_env, umask = order
    rest = json.dumps((claim, attempt, id, parent, call, cwd, stdin, leave_children, umask))
    return _SEPARATOR.join((rest, args or "", kwargs or "", env or "", launcher_env or "")).encode()


def encode_path(path: str) -> bytes:
    """Return the message for an order in a file."""
    return json.dumps(path).encode()


def decode_order(data: bytes) -> Order:
    """Return a received order, read from its file if the message is only a path. Raises OSError."""
    if data.startswith(b'"'):
        with open(json.loads(data), "rb") as file:
            data = file.read()
    rest, args, kwargs, env, launcher_env = data.decode().split(_SEPARATOR)
    claim, attempt, id, parent, call, cwd, stdin, leave_children, umask = _DECODER.decode(rest)
    return Order(claim, attempt, id, parent, call, args, kwargs, cwd, env, stdin, leave_children, launcher_env, umask)


def send_hello(channel: socket.socket, hello: dict[str, Any], journal: int) -> None:
    """Send a runner the settings of all its calls, and its journal. Raises OSError."""
    data = json.dumps(hello).encode()
    message = _LENGTH.pack(len(data)) + data
    sent = socket.send_fds(channel, [message], [journal])
    channel.sendall(message[sent:])


def receive_hello(channel: socket.socket) -> tuple[dict[str, Any], int] | None:
    """Return the settings and the journal's descriptor, or None if the channel is closed first. Raises OSError."""
    data, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
    size = _LENGTH.unpack(data)[0] if len(data) == _LENGTH.size else -1
    document = bytearray()
    while len(document) < size and (piece := channel.recv(size - len(document))):
        document += piece
    return (json.loads(document), descriptors[0]) if len(document) == size else None
