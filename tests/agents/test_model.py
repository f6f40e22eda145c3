"""The scripted model that the agents are tested against, in four protocols."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.model import Call, Fail, Hang, Model, Say, Slow
from tests.helpers.wait import eventually

#: The path and body of a request in each protocol, and its tools.
CHAT = {"model": "m", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ping"}]}
ANTHROPIC = {"model": "m", "system": "be brief", "messages": [{"role": "user", "content": "ping"}]}
RESPONSES = {"model": "m", "instructions": "be brief", "input": [{"role": "user", "content": "ping"}]}
GEMINI = {"systemInstruction": {"parts": [{"text": "be brief"}]}, "contents": [{"parts": [{"text": "ping"}]}]}
QUESTIONS = {
    "anthropic": ("/v1/messages?beta=true", ANTHROPIC, {"tools": [{"name": "t"}]}),
    "chat": ("/v1/chat/completions", CHAT, {"tools": [{"function": {"name": "t"}}]}),
    "responses": ("/v1/responses", RESPONSES, {"tools": [{"type": "function", "name": "t"}]}),
    "gemini": ("/v1beta/models/m:generateContent", GEMINI, {"tools": [{"functionDeclarations": [{"name": "t"}]}]}),
}
every_protocol = pytest.mark.parametrize("protocol", QUESTIONS)
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def ask(model: Model, protocol: str, stream: bool = False) -> list[Any]:
    """Return the documents of an answer: one, or those of a stream."""
    path, body, tools = QUESTIONS[protocol]
    if stream and protocol == "gemini":
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    data = json.dumps({**body, **tools, **({"stream": stream} if protocol != "gemini" else {})}).encode()
    request = urllib.request.Request(model.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"] if stream else [json.loads(text)]


def values(document: object, name: str) -> list[Any]:
    """Return all values of a name, anywhere in a document, in order."""
    if isinstance(document, list):
        return [value for item in document for value in values(item, name)]
    if not isinstance(document, dict):
        return []
    return [
        found for key, value in document.items() for found in ([value] if key == name else []) + values(value, name)
    ]


@every_protocol
@whole_and_streamed
def test_answers_follow_the_script(protocol: str, stream: bool):
    with Model(Say("first"), Say("then")) as model:
        answers = [json.dumps(ask(model, protocol, stream)) for _ in range(3)]
    assert ["first" in one for one in answers] == [True, False, False]
    assert ["then" in one for one in answers] == [False, True, True]


@every_protocol
@whole_and_streamed
def test_tool_is_called_once_before_the_answer(protocol: str, stream: bool):
    with Model(Call("t", {"x": 1})) as model:
        call, after = ask(model, protocol, stream), ask(model, protocol, stream)
    assert "t" in values(call, "name")
    given = [values(call, name) for name in ("args", "arguments", "partial_json", "input")]
    assert {"x": 1} in [json.loads(one) if isinstance(one, str) else one for some in given for one in some if one]
    assert "pong" in json.dumps(after)


@every_protocol
@pytest.mark.parametrize("status", [401, 429, 500])
def test_scripted_failure_has_its_status_and_reason(protocol: str, status: int):
    with Model(Fail(status)) as model, pytest.raises(urllib.error.HTTPError) as refused:
        ask(model, protocol)
    assert refused.value.code == status
    assert "mock: " in refused.value.read().decode()


@every_protocol
def test_slow_answer_comes_in_pieces(protocol: str):
    with Model(Slow("one two three", pause=0.001)) as model:
        pieces = ask(model, protocol, stream=True)
    assert sum(any(word in json.dumps(piece) for word in ("one", "two", "three")) for piece in pieces) >= 3


@every_protocol
def test_requests_to_the_model_are_recorded(protocol: str, tmp_path: Path):
    with Model(log=tmp_path / "log") as model:
        ask(model, protocol)
    (request,) = model.requests
    assert [(one.role, one.text) for one in request.messages] == [("system", "be brief"), ("user", "ping")]
    assert request.count("ping") == 1
    assert (request.model, request.tools) == ("m", ("t",))
    assert json.loads((tmp_path / "log").read_text()) == json.loads(json.dumps(request.to_json()))


def test_hanging_request_ends_when_the_model_closes():
    refused = threading.Event()

    def hang() -> None:
        with pytest.raises(OSError):
            ask(model, "chat")
        refused.set()

    with Model(Hang()) as model:
        thread = threading.Thread(target=hang)
        thread.start()
        eventually(lambda: model.requests)
        assert not refused.is_set()
    assert refused.wait(30)
    thread.join()
