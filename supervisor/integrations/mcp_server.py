"""The tools over the Model Context Protocol, and notices at the end of every answer."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from ...ipc.errors import BackburnerError
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.machine.distribution import version
from ...ipc.store.inbox import Inbox, telling
from ..log import log
from .caller import here
from .mcp_tools import INSTRUCTIONS, TOOLS, Office

if TYPE_CHECKING:
    from anyio import AsyncFile

STDOUT, STDERR = 1, 2

Context = ServerRequestContext[Any, Any]
Document = dict[str, Any]


class Outgoing:
    """The way out: what is unread is added to an answer just before it leaves, and acknowledged when it has left."""

    def __init__(self, descriptor: int, office: Office) -> None:
        """Write to that descriptor."""
        self._descriptor, self._office = descriptor, office
        self._parents: dict[str | int, str] = {}

    def expect(self, request: str | int, parent: str) -> None:
        """The answer to this request goes to the model of that session."""
        self._parents[request] = parent

    def forget(self, request: str | int) -> None:
        """It will not be answered."""
        self._parents.pop(request, None)

    async def write(self, line: str) -> None:
        """One message. Raises OSError."""
        document = json.loads(line)
        parent = self._parents.pop(document.get("id"), None)
        if parent is None or "result" not in document:
            self._send(document)
        else:
            await asyncio.to_thread(self._tell, document, parent)

    async def flush(self) -> None:
        """Nothing is held back."""

    def _tell(self, document: Document, parent: str) -> None:
        """Answer, with the notices if they can be had now; what cannot be told is told with another answer."""
        sent = False
        try:
            with self._turn(parent):
                inbox = self._inbox(parent)
                unread = inbox and inbox.unread()
                if unread:
                    document["result"]["content"].append({"type": "text", "text": unread.text})
                self._send(document)
                sent = True
                if inbox and unread:
                    inbox.acknowledge(unread.seq)
        except BackburnerError as error:
            log("trouble", rest=0.0, why=error)
            if not sent:
                self._send(document)

    def _turn(self, parent: str) -> AbstractContextManager[None]:
        return nullcontext() if self._office.database is None else telling(self._office.home, parent)

    def _inbox(self, parent: str) -> Inbox | None:
        database = self._office.database
        return None if database is None else Inbox(database, parent)

    def _send(self, document: Document) -> None:
        left = json.dumps(document, ensure_ascii=False).encode() + b"\n"
        while left:
            with failpoint("mcp.send"):
                left = left[os.write(self._descriptor, left) :]


def serve(home: Home) -> None:
    """Serve the client at stdin and stdout until it hangs up."""
    wire = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # what anything else prints must not be taken for an answer
    asyncio.run(_serve(Office(home, here()), wire))


async def _serve(office: Office, wire: int) -> None:
    out = Outgoing(wire, office)
    server = _server(office, out)
    async with stdio_server(stdout=cast("AsyncFile[str]", out)) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(office: Office, out: Outgoing) -> Server[Any]:
    async def list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(name) for name in TOOLS])

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        assert context.request_id is not None, "a call is a request"
        try:
            checked = office.check(params.name, params.arguments or {})
            parent = await asyncio.to_thread(office.parent, checked, context.meta)
            if not await asyncio.to_thread(office.is_told_by_hook, parent, context.meta):
                out.expect(context.request_id, parent)
            return _result(await office.call(params.name, checked, parent))
        except asyncio.CancelledError:
            out.forget(context.request_id)
            raise
        except BackburnerError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)

    return Server(
        "backburner", version=version(), instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def _tool(name: str) -> types.Tool:
    return types.Tool(name=name, description=TOOLS[name].description, input_schema=TOOLS[name].schema())


def _result(answer: Document) -> types.CallToolResult:
    text = json.dumps(answer, ensure_ascii=False)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])
