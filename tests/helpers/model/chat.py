"""OpenAI: POST /chat/completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.helpers.model.dialects import Dialect, Event, message, reason
from tests.helpers.model.turns import TOKENS_IN, TOKENS_OUT, Call, Request

USAGE = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}


class Chat(Dialect):
    """Chat completions."""

    last = "[DONE]"

    def serves(self, path: str) -> bool:
        """Return True for any prefix of the path."""
        return path.endswith("/chat/completions")

    def read(self, path: str, body: dict[str, Any]) -> Request:
        """Return the request; messages have their roles."""
        return Request(
            path=path,
            model=str(body.get("model")),
            stream=bool(body.get("stream")),
            tools=tuple(str(tool.get("function", {}).get("name")) for tool in body.get("tools") or ()),
            messages=tuple(message(one.get("role"), one.get("content")) for one in body.get("messages", ())),
        )

    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """Return one choice."""
        content = {"content": answer} if isinstance(answer, str) else {"content": None, "tool_calls": [_call(answer)]}
        choice = {"index": 0, "message": {"role": "assistant", **content}, "finish_reason": _reason(answer)}
        return {**_envelope(request, "chat.completion"), "choices": [choice], "usage": USAGE}

    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """Yield chunks; the usage comes last."""
        deltas: Iterable[dict[str, Any]]
        if isinstance(answer, Call):
            deltas = [{"content": None, "tool_calls": [{"index": 0, **_call(answer)}]}]
        else:
            deltas = ({"content": piece} for piece in answer)
        for delta in deltas:
            yield "", _chunk(request, {"role": "assistant", **delta}, None)
        yield "", _chunk(request, {}, _reason(answer))
        yield "", {**_envelope(request, "chat.completion.chunk"), "choices": [], "usage": USAGE}

    def refusal(self, status: int) -> dict[str, Any]:
        """Return an error in OpenAI's form."""
        return {"error": {"message": reason(status), "type": "mock_error", "param": None, "code": str(status)}}


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": f"call_{id(call)}", "type": "function", "function": function}


def _reason(answer: object) -> str:
    return "tool_calls" if isinstance(answer, Call) else "stop"


def _chunk(request: Request, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_envelope(request, "chat.completion.chunk"), "choices": [choice]}


def _envelope(request: Request, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-mock", "object": kind, "created": 1, "model": request.model}
