"""A client of the MCP server that sends exactly what a test wants, to a real process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from backburner.ipc.api.control import program


class Client:
    """A server process and the client that started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Use the process's stdin and stdout."""
        self.process = process
        self._number = 0
        self._responses: dict[int, dict[str, Any]] = {}

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def send_request(self, method: str, **params: Any) -> int:
        """Send a request and return its number."""
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        return self._number

    def receive(self, number: int) -> dict[str, Any]:
        """Wait for the response to a request."""
        assert self.process.stdout is not None, "it is a pipe"
        while number not in self._responses:
            line = self.process.stdout.readline()
            assert line, f"the server exited with {self.process.wait()}"
            message = json.loads(line)
            self._responses[message.get("id")] = message
        return self._responses.pop(number)

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request that must succeed, and return its result."""
        response = self.receive(self.send_request(method, **params))
        assert "result" in response, response
        result: dict[str, Any] = response["result"]
        return result

    def initialize(self, version: str = "2025-11-25") -> dict[str, Any]:
        """Initialize the connection, and return the server's description of itself."""
        found = self.request(
            "initialize", protocolVersion=version, capabilities={}, clientInfo={"name": "test", "version": "1"}
        )
        self.send({"method": "notifications/initialized"})
        return found

    def call(self, name: str, meta: Mapping[str, Any] | None = None, **arguments: Any) -> Result:
        """Call a tool that must succeed; `meta` is what a client adds to the call."""
        return self.result(self.begin_call(name, meta, **arguments))

    def begin_call(self, name: str, meta: Mapping[str, Any] | None = None, **arguments: Any) -> int:
        """Call a tool and return the request's number."""
        more = {"_meta": dict(meta)} if meta else {}
        return self.send_request("tools/call", name=name, arguments=arguments, **more)

    def result(self, number: int) -> Result:
        """Wait for the result of a call that must succeed."""
        result = self.receive(number)["result"]
        assert not result.get("isError"), result
        return Result(result)

    def error(self, name: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return the reason."""
        result = self.request("tools/call", name=name, arguments=arguments)
        assert result["isError"] is True
        return str(result["content"][0]["text"])


class Result:
    """The result of a call: the tool's answer, and the notifications that follow it."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        """Read the parts of the result."""
        texts = [part["text"] for part in result["content"]]
        self.answer: dict[str, Any] = json.loads(texts[0])
        self.notifications = "\n".join(texts[1:])


@contextmanager
def client(home: str, cwd: str, **environ: str) -> Iterator[Client]:
    """Start a server in the folder `cwd`, as a client does; it must exit when the client disconnects."""
    process = subprocess.Popen(
        program("--home", home, "mcp"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environ},
    )
    assert process.stdin is not None and process.stdout is not None, "they are pipes"
    try:
        yield Client(process)
        process.stdin.close()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
