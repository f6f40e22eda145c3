"""The MCP server. It serves the tools, and appends unread notifications to every answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from ...ipc.errors import BackburnerError
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.machine.distribution import version
from ..log import log_trouble
from ..system.signals import restore_default
from .caller import this_process
from .inbox import Inbox, delivering
from .mcp_answers import MAX_MESSAGE, error_text
from .mcp_arguments import CheckedInput
from .mcp_tools import INSTRUCTIONS, TOOLS, ToolService

if TYPE_CHECKING:
    from anyio import AsyncFile

STDIN, STDOUT, STDERR = 0, 1, 2

Context = ServerRequestContext[Any, Any]
Document = dict[str, Any]


class NotifyingOutput:
    """The server's output. It appends unread notifications to answers, and acknowledges those that it has written."""

    def __init__(self, descriptor: int, service: ToolService) -> None:
        self._descriptor, self._service = descriptor, service
        self._sessions: dict[str | int, str] = {}

    def expect(self, request: str | int, session: str) -> None:
        """Append the session's notifications to the answer to this request."""
        self._sessions[request] = session

    def forget(self, request: str | int) -> None:
        """Stop expecting an answer to this request."""
        self._sessions.pop(request, None)

    async def write(self, line: str) -> None:
        """Write one message. Raises OSError."""
        document = json.loads(line)
        session = self._sessions.pop(document.get("id"), None)
        if session is None or "result" not in document:
            self._write(document)
        else:
            await asyncio.to_thread(self._write_with_notifications, document, session)

    def refuse(self, document: Document) -> None:
        """Answer a message that the server cannot read. Raises OSError."""
        self._write(document)

    async def flush(self) -> None:
        """Do nothing: `write` has no buffer."""

    def _write_with_notifications(self, document: Document, session: str) -> None:
        """Write the answer even if the notifications cannot be read. A later answer delivers them."""
        is_written = False
        try:
            with self._delivering(session):
                inbox = self._inbox(session)
                unread = inbox and inbox.unread(MAX_MESSAGE - len(_encoded(document)))
                if unread:
                    document["result"]["content"].append({"type": "text", "text": f"\n{unread.text}"})
                self._write(document)
                is_written = True
                if inbox and unread:
                    inbox.acknowledge(unread.seq)
        except BackburnerError as error:
            log_trouble(0.0, error)
            if not is_written:
                self._write(document)

    def _delivering(self, session: str) -> AbstractContextManager[None]:
        return nullcontext() if self._service.store is None else delivering(self._service.home, session)

    def _inbox(self, session: str) -> Inbox | None:
        store = self._service.store
        return None if store is None else Inbox(store, session)

    def _write(self, document: Document) -> None:
        remaining = _encoded(document)
        while remaining:
            with failpoint("mcp.send"):
                remaining = remaining[os.write(self._descriptor, remaining) :]


def _encoded(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def serve(home: Home) -> None:
    """Serve the client on stdin and stdout until it disconnects, or until a signal ends the process."""
    restore_default(signal.SIGINT)  # Python's own handler would wait for the thread that reads stdin
    descriptors = os.dup(STDIN), os.dup(STDOUT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, STDIN)  # other code must not read messages
    os.dup2(STDERR, STDOUT)  # output of other code must not be mistaken for a message
    os.close(null)
    asyncio.run(_serve(ToolService(home, this_process()), *descriptors))


async def _serve(service: ToolService, stdin: int, stdout: int) -> None:
    output = NotifyingOutput(stdout, service)
    server = _server(service, output)
    lines = CheckedInput(anyio.wrap_file(os.fdopen(stdin, "rb", closefd=False)), output.refuse)
    files = {"stdin": cast("AsyncFile[str]", lines), "stdout": cast("AsyncFile[str]", output)}
    async with stdio_server(**files) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(service: ToolService, output: NotifyingOutput) -> Server[Any]:
    async def list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(name) for name in TOOLS])

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        assert context.request_id is not None, "a call is a request"
        try:
            checked = service.check(params.name, params.arguments or {})
            session = await asyncio.to_thread(service.session, checked, context.meta)
            if not await asyncio.to_thread(service.is_notified_by_hook, session, context.meta):
                output.expect(context.request_id, session)
            return _result(await service.call(params.name, checked, session))
        except asyncio.CancelledError:
            output.forget(context.request_id)
            raise
        except BackburnerError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=error_text(error))], is_error=True)

    return Server(
        "backburner", version=version(), instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def _tool(name: str) -> types.Tool:
    return types.Tool(name=name, description=TOOLS[name].description, input_schema=TOOLS[name].schema())


def _result(answer: Document) -> types.CallToolResult:
    text = json.dumps(answer, ensure_ascii=False)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])
