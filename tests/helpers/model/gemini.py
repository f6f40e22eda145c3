"""Gemini: POST /v1beta/models/MODEL:generateContent and :streamGenerateContent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.helpers.model.dialects import Dialect, Event, message, reason
from tests.helpers.model.turns import TOKENS_IN, TOKENS_OUT, Call, Message, Request

STATUSES = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
USAGE = {
    "promptTokenCount": TOKENS_IN,
    "candidatesTokenCount": TOKENS_OUT,
    "totalTokenCount": TOKENS_IN + TOKENS_OUT,
}
PATH = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)$")


class Gemini(Dialect):
    """Contents and candidates."""

    def serves(self, path: str) -> bool:
        """Return True for paths that generate, and not for those that count tokens."""
        return PATH.search(path) is not None

    def read(self, path: str, body: dict[str, Any]) -> Request:
        """Return the request; the path names the model."""
        found = PATH.search(path)
        assert found is not None
        system = [message("system", body["systemInstruction"])] if body.get("systemInstruction") else []
        tools = (tool.get("functionDeclarations", ()) for tool in body.get("tools") or ())
        return Request(
            path=path,
            model=found[1],
            stream=found[2] == "streamGenerateContent",
            tools=tuple(str(one.get("name")) for some in tools for one in some),
            messages=(*system, *(part for one in body.get("contents", ()) for part in _parts(one))),
        )

    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """Return one candidate."""
        return _answer(request, _part(answer), "STOP")

    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """Yield responses one after another; the last one has a finish reason."""
        for piece in [answer] if isinstance(answer, Call) else answer:
            yield "", _answer(request, _part(piece), None)
        yield "", _answer(request, {"text": ""}, "STOP")

    def refusal(self, status: int) -> dict[str, Any]:
        """Return an error in Google's form."""
        return {"error": {"code": status, "message": reason(status), "status": STATUSES.get(status, "INTERNAL")}}


def _parts(content: dict[str, Any]) -> Iterator[Message]:
    for part in content.get("parts", ()):
        if "functionResponse" in part:
            yield message("tool", part["functionResponse"].get("response"))
        else:
            yield message(content.get("role", "user"), part)


def _part(answer: str | Call) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"text": answer}
    return {"functionCall": {"name": answer.name, "args": dict(answer.arguments)}}


def _answer(request: Request, part: dict[str, Any], finish: str | None) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [part]}, "index": 0, "finishReason": finish}
    present = {name: value for name, value in candidate.items() if value is not None}
    return {"candidates": [present], "usageMetadata": USAGE, "modelVersion": request.model}
