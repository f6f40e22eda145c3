"""The server: a script of turns, four protocols, and a log of the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.helpers.model.anthropic import Anthropic
from tests.helpers.model.chat import Chat
from tests.helpers.model.dialects import Dialect
from tests.helpers.model.gemini import Gemini
from tests.helpers.model.responses import Responses
from tests.helpers.model.turns import DEFAULT, Call, Fail, Hang, Request, Say, Slow, Turn

DIALECTS: tuple[Dialect, ...] = (Anthropic(), Responses(), Chat(), Gemini())

#: The response to a request for a title, which takes no turn of the conversation.
ASIDE = Say("A title")


class Model:
    """A model on loopback in a thread of this process; a context manager.

    Each request takes the next turn. The last one is repeated, unless it calls a tool: then the model answers `pong`.
    """

    def __init__(self, *turns: Turn, log: Path | None = None, port: int = 0) -> None:
        """Serve at `url`. Each request is appended to `log` as a line of JSON before it is answered."""
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._turns = list(turns) or [DEFAULT]
        self._log = log
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and stop."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def now(self, *turns: Turn) -> None:
        """Replace the script by these turns, and forget the requests."""
        with self._lock:
            self.requests = []
            self._turns = list(turns) or [DEFAULT]

    def take(self, request: Request) -> Turn:
        """Keep a request, and return its turn."""
        with self._lock:
            self.requests.append(request)
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(request.to_json(), ensure_ascii=False) + "\n")
            return self._next(request)

    def _next(self, request: Request) -> Turn:
        turn = self._turns[0]
        if isinstance(turn, Fail | Hang) and len(self._turns) == 1:
            return turn
        if request.is_aside() or (isinstance(turn, Call) and not request.tools):
            return ASIDE
        if len(self._turns) > 1:
            return self._turns.pop(0)
        if isinstance(turn, Call):
            self._turns = [DEFAULT]
        return turn


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def model(self) -> Model:
            return model

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def model(self) -> Model:
        raise NotImplementedError

    def log_message(self, format: str, *words: Any) -> None:
        """Print nothing: the log of requests is sufficient."""

    def do_HEAD(self) -> None:
        """Answer clients that probe the server first."""
        self._answer(200, None)

    def do_GET(self) -> None:
        """Answer with an empty list."""
        self._answer(200, {"object": "list", "data": [], "models": []})

    def do_POST(self) -> None:
        """Answer a request to the model, and any other one with zero tokens."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        dialect = next((one for one in DIALECTS if one.serves(path)), None)
        if dialect is None:
            self._answer(200, {"input_tokens": 1, "totalTokens": 1})
            return
        request = dialect.read(path, body)
        try:
            self._act(dialect, request, self.model().take(request))
        except ConnectionError:  # the client was killed, or has closed the connection
            self.close_connection = True

    def _act(self, dialect: Dialect, request: Request, turn: Turn) -> None:
        if isinstance(turn, Hang):
            self.model().closing.wait()
            self.close_connection = True
        elif isinstance(turn, Fail):
            self._answer(turn.status, dialect.refusal(turn.status), turn.retry_after)
        elif request.stream:
            self._stream(dialect, request, turn)
        else:
            text = "".join(self._pieces(turn)) if not isinstance(turn, Call) else turn
            self._answer(200, dialect.whole(request, text))

    def _pieces(self, turn: Say | Slow) -> Iterator[str]:
        if isinstance(turn, Say):
            yield turn.text
            return
        for word in turn.text.split(" "):
            self.model().closing.wait(turn.pause)
            yield word + " "

    def _stream(self, dialect: Dialect, request: Request, turn: Say | Slow | Call) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for name, data in dialect.events(request, turn if isinstance(turn, Call) else self._pieces(turn)):
            self._event(name, json.dumps(data, ensure_ascii=False))
        if dialect.last:
            self._event("", dialect.last)

    def _event(self, name: str, data: str) -> None:
        head = f"event: {name}\n" if name else ""
        self.wfile.write(f"{head}data: {data}\n\n".encode())
        self.wfile.flush()

    def _answer(self, status: int, body: dict[str, Any] | None, retry_after: int | None = None) -> None:
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
