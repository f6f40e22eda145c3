"""Anthropic: POST /v1/messages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from tests.helpers.model.dialects import Dialect, Event, flat, message, reason
from tests.helpers.model.turns import TOKENS_IN, TOKENS_OUT, Call, Message, Request

KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class Anthropic(Dialect):
    """Messages."""

    def serves(self, path: str) -> bool:
        """Return True for messages only."""
        return path.endswith("/messages")

    def read(self, path: str, body: dict[str, Any]) -> Request:
        """Return the request; the system prompt comes first."""
        system = [message("system", body["system"])] if body.get("system") else []
        return Request(
            path=path,
            model=str(body.get("model")),
            stream=bool(body.get("stream")),
            tools=tuple(str(tool.get("name")) for tool in body.get("tools") or ()),
            messages=(*system, *(part for one in body.get("messages", ()) for part in _parts(one))),
        )

    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """Return a message."""
        content = {"type": "text", "text": answer} if isinstance(answer, str) else _use(answer, dict(answer.arguments))
        return _envelope(request, [content], "end_turn" if isinstance(answer, str) else "tool_use")

    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """Yield a message in pieces."""
        yield _named("message_start", message=_envelope(request, [], None))
        if isinstance(answer, Call):
            block, stop = _use(answer, {}), "tool_use"
            deltas: Iterable[dict[str, Any]] = [
                {"type": "input_json_delta", "partial_json": json.dumps(dict(answer.arguments))}
            ]
        else:
            block, stop = {"type": "text", "text": ""}, "end_turn"
            deltas = ({"type": "text_delta", "text": piece} for piece in answer)
        yield _named("content_block_start", index=0, content_block=block)
        for delta in deltas:
            yield _named("content_block_delta", index=0, delta=delta)
        yield _named("content_block_stop", index=0)
        yield _named(
            "message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": TOKENS_OUT}
        )
        yield _named("message_stop")

    def refusal(self, status: int) -> dict[str, Any]:
        """Return an error of the type that belongs to the status."""
        return {"type": "error", "error": {"type": KINDS.get(status, "api_error"), "message": reason(status)}}


def _parts(one: dict[str, Any]) -> Iterator[Message]:
    """Yield the parts; results of tools are parts of the user's messages."""
    content = one.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": flat(content)}]
    for block in blocks:
        yield message("tool" if block.get("type") == "tool_result" else one.get("role"), block)


def _use(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{id(call)}", "name": call.name, "input": given}


def _envelope(request: Request, content: list[Any], stop: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",  # compaction counts messages by their ids
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": TOKENS_IN, "output_tokens": TOKENS_OUT},
    }


def _named(name: str, **more: Any) -> Event:
    return name, {"type": name, **more}
