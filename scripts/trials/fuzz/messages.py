"""Messages for scripts/fuzz-bus: valid ones, and ones that are wrong in a plausible way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

ID = "bg-00000000-0000-4000-8000-000000000000"

#: Valid parameters of each method; tasks wait in a group that is paused.
METHODS: dict[str, dict[str, Any]] = {
    "ping": {},
    "status": {},
    "get": {"id": ID},
    "list": {"status": "pending", "parentSessionId": "ses-f", "model": "opus", "limit": 3, "cursor": "7"},
    "wait": {"ids": [ID], "timeoutMs": 50},
    "cancel": {"id": ID},
    "retry": {"id": ID},
    "complete": {"id": ID, "result": "x"},
    "fail": {"id": ID, "error": "x"},
    "progress": {"id": ID, "text": "x"},
    "output": {"id": ID, "stream": "stdout", "offset": 0, "limit": 100, "encoding": "base64"},
    "subscribe": {"parentSessionId": "ses-f", "after": 0, "types": ["background_task_completed"], "consumer": "f"},
    "unsubscribe": {"parentSessionId": "ses-f", "consumer": "f"},
    "ack": {"parentSessionId": "ses-f", "seq": 0, "consumer": "f"},
    "flush": {"parentSessionId": "ses-f"},
    "launchMany": {"tasks": []},
}

#: Launches are drawn less often, so that the trial is about messages, and not about the disk.
LAUNCH = {
    "agent": "external",
    "prompt": "x",
    "concurrencyKey": "fuzz",
    "parentSessionId": "ses-f",
    "priority": 3,
    "metadata": {"a": 1},
}

ATOMS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**400, 0.5, 1e308, "", "x", "\0", "\ud800", "é" * 50,
    "x" * 5000, "*", "bg-", ID, "../../x", [], [[]], {}, {"": None}, [None] * 50, {"id": ID}, ["x", 1],
)  # fmt: skip

Mutation = Callable[[random.Random, dict[str, Any]], Any]


def message(chance: random.Random, number: int) -> bytes:
    """Return one line, which is usually almost valid."""
    if chance.random() < 0.03:
        return garbage(chance)
    method = "launch" if chance.random() < 0.01 else chance.choice(list(METHODS))
    params = dict(LAUNCH if method == "launch" else METHODS[method])
    request: Any = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        request = chance.choice(MUTATIONS)(chance, request)
        if not isinstance(request, dict):
            break
    line = json.dumps(request, ensure_ascii=chance.random() < 0.8).encode(errors="surrogatepass")
    return (damaged(chance, line) if chance.random() < 0.05 else line) + b"\n"


def _params(request: dict[str, Any]) -> dict[str, Any]:
    found = request.get("params")
    return found if isinstance(found, dict) else {}


def _drop(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    params = _params(request)
    return {**request, "params": {name: value for name, value in params.items() if chance.random() < 0.7}}


def _exchange(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    params = dict(_params(request))
    if params:
        params[chance.choice(list(params))] = chance.choice(ATOMS)
    return {**request, "params": params}


def _add(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    name = chance.choice(("id", "after", "limit", "cwd", "env", "kwargs", "retries", "delayMs", "unknown", "", "é"))
    return {**request, "params": {**_params(request), name: chance.choice(ATOMS)}}


def _envelope(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    return {**request, chance.choice(("jsonrpc", "id", "method", "params", "more")): chance.choice(ATOMS)}


def _without(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    gone = chance.choice(("jsonrpc", "id", "method", "params"))
    return {name: value for name, value in request.items() if name != gone}


def _deep(chance: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    found: Any = 1
    for _ in range(chance.choice((3, 50, 400))):
        found = [found] if chance.random() < 0.5 else {"a": found}
    return {**request, "params": {**_params(request), "metadata": found}}


def _batch(chance: random.Random, request: dict[str, Any]) -> list[dict[str, Any]]:
    return [request] * chance.choice((0, 1, 2, 20))


MUTATIONS: tuple[Mutation, ...] = (_drop, _exchange, _exchange, _exchange, _add, _envelope, _without, _deep, _batch)


def damaged(chance: random.Random, line: bytes) -> bytes:
    """Return the line with some bytes changed, and perhaps cut short."""
    data = bytearray(line)
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randint(1, len(data))]).replace(b"\n", b" ")


def garbage(chance: random.Random) -> bytes:
    """Return bytes that are not a message."""
    kind = chance.randrange(6)
    if kind == 0:
        return b"\n" * chance.randint(1, 100)
    if kind == 1:
        return chance.randbytes(chance.randint(1, 2000)) + b"\n"
    if kind == 2:
        return b"[" * 20000 + b"\n"
    if kind == 3:
        return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if kind == 4 and chance.random() < 0.02:
        return b"x" * (1 << 20) + b"xx\n"
    return b'{"jsonrpc": "2.0", "method"'
