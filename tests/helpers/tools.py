"""A client of our MCP server that says exactly what a test has it say, over a real process's stdin and stdout."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from backburner.ipc.api.control import program


class Client:
    """One server process, and the client that started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Speak to that process."""
        self.process = process
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}

    def send(self, message: Mapping[str, Any]) -> None:
        """One message."""
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def begin(self, method: str, **params: Any) -> int:
        """Ask, and do not wait; the request's number."""
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        return self._number

    def end(self, number: int) -> dict[str, Any]:
        """The answer to a request."""
        assert self.process.stdout is not None, "it is a pipe"
        while number not in self._answers:
            line = self.process.stdout.readline()
            assert line, f"the server left with {self.process.wait()}"
            message = json.loads(line)
            self._answers[message.get("id")] = message
        return self._answers.pop(number)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result."""
        answer = self.end(self.begin(method, **params))
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def greet(self, version: str = "2025-11-25") -> dict[str, Any]:
        """What the server says of itself."""
        found = self.ask(
            "initialize", protocolVersion=version, capabilities={}, clientInfo={"name": "test", "version": "1"}
        )
        self.send({"method": "notifications/initialized"})
        return found

    def use(self, name: str, beside: Mapping[str, Any] | None = None, **arguments: Any) -> Used:
        """Call a tool that must succeed; `beside` is what a client adds to it on its own."""
        return self.used(self.start(name, beside, **arguments))

    def start(self, name: str, beside: Mapping[str, Any] | None = None, **arguments: Any) -> int:
        """Call a tool, and do not wait."""
        more = {"_meta": dict(beside)} if beside else {}
        return self.begin("tools/call", name=name, arguments=arguments, **more)

    def used(self, number: int) -> Used:
        """What a call that must succeed came to."""
        result = self.end(number)["result"]
        assert not result.get("isError"), result
        return Used(result)

    def refusal(self, name: str, **arguments: Any) -> str:
        """Why a call is refused."""
        result = self.ask("tools/call", name=name, arguments=arguments)
        assert result["isError"] is True
        return str(result["content"][0]["text"])


class Used:
    """The result of a call: a document, and what the session was told besides."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        """Read it."""
        texts = [part["text"] for part in result["content"]]
        self.said: dict[str, Any] = json.loads(texts[0])
        self.told = "\n".join(texts[1:])


@contextmanager
def client(home: str, cwd: str, **environ: str) -> Iterator[Client]:
    """Start a server as a client does, in its folder; it leaves when the client hangs up."""
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
