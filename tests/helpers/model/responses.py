"""OpenAI: POST /responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.helpers.model.chat import Chat
from tests.helpers.model.dialects import Event, message
from tests.helpers.model.turns import TOKENS_IN, TOKENS_OUT, Call, Message, Request

USAGE = {
    "input_tokens": TOKENS_IN,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": TOKENS_OUT,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": TOKENS_IN + TOKENS_OUT,
}


class Responses(Chat):
    """Responses. Their errors have the form of chat completions."""

    last = ""

    def serves(self, path: str) -> bool:
        """Return True for any prefix of the path."""
        return path.endswith("/responses")

    def read(self, path: str, body: dict[str, Any]) -> Request:
        """Return the request: the instructions, then the items, which include results of tools."""
        system = [Message("system", str(body["instructions"]))] if body.get("instructions") else []
        given = body.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        return Request(
            path=path,
            model=str(body.get("model")),
            stream=bool(body.get("stream")),
            tools=tuple(name for tool in _tools(body, items) for name in _names(tool)),
            messages=(*system, *(message(_role(item), item) for item in items if "tools" not in item)),
        )

    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """Return a response with one item."""
        return _response(request, "completed", [_item(answer)])

    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """Yield a response in pieces."""
        yield _named("response.created", response=_response(request, "in_progress", []))
        begun = _item(answer) if isinstance(answer, Call) else _item("")
        yield _named("response.output_item.added", output_index=0, item=begun)
        text = ""
        for piece in () if isinstance(answer, Call) else answer:
            text += piece
            yield _named("response.output_text.delta", item_id="msg_mock", output_index=0, content_index=0, delta=piece)
        item = _item(answer if isinstance(answer, Call) else text)
        yield _named("response.output_item.done", output_index=0, item=item)
        yield _named("response.completed", response=_response(request, "completed", [item]))


def _tools(body: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the tools; Codex offers some of them as an item of the input."""
    yield from body.get("tools") or ()
    for item in items:
        yield from item.get("tools") or ()


def _names(tool: dict[str, Any]) -> Iterator[str]:
    """Yield the name of a tool, or the names in a namespace."""
    name = str(tool.get("name") or tool.get("type"))
    yield from [f"{name}/{inner.get('name')}" for inner in tool.get("tools", ())] or [name]


def _role(item: dict[str, Any]) -> str:
    return "tool" if "output" in item else str(item.get("role") or item.get("type"))


def _item(answer: str | Call) -> dict[str, Any]:
    if isinstance(answer, str):
        content = {"type": "output_text", "text": answer, "annotations": [], "logprobs": []}
        return {
            "id": "msg_mock",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
    named = {"namespace": answer.namespace} if answer.namespace else {}
    head = {"id": f"fc_{id(answer)}", "call_id": f"call_{id(answer)}", "name": answer.name, "status": "completed"}
    if answer.text:
        return {**head, **named, "type": "custom_tool_call", "input": answer.text}
    return {**head, **named, "type": "function_call", "arguments": json.dumps(dict(answer.arguments))}


def _response(request: Request, status: str, output: list[Any]) -> dict[str, Any]:
    usage = USAGE if status == "completed" else None
    head = {"id": "resp_mock", "object": "response", "created_at": 1, "model": request.model}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, "status": status, "output": output, "usage": usage, **rest}


def _named(name: str, **more: Any) -> Event:
    return name, {"type": name, "sequence_number": 0, **more}
