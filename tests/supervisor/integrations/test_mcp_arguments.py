"""Every message of a client gets an answer, and models may write lists, objects and numbers as text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.supervisor.integrations.mcp_arguments import CheckedInput, lenient, refusal_of
from backburner.supervisor.integrations.mcp_tools import TOOLS


def checked(name: str, **arguments: Any) -> dict[str, Any]:
    """Return the checked arguments of a call."""
    params = TOOLS[name].params
    return params.check(lenient(params, arguments))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"command": '["make", "test"]'}, {"command": ["make", "test"]}),
        ({"command": ["make", "test"]}, {"command": ["make", "test"]}),
        ({"prompt": '["make"]', "description": "5", "model": "true"}, None),
        ({"env": '{"A": "1"}', "metadata": '{"a": [1]}', "kwargs": " {} "}, {"env": {"A": "1"}, "kwargs": {}}),
        ({"args": "[1, null]", "after": "[]", "tags": '["a"]'}, {"args": [1, None], "after": [], "tags": ["a"]}),
        ({"priority": "5", "timeoutMs": "1000", "retries": " 2 "}, {"priority": 5, "timeoutMs": 1000, "retries": 2}),
        ({"priority": "-5", "leaveChildren": "true"}, {"priority": -5, "leaveChildren": True}),
        (dict.fromkeys(TOOLS["launch"].params.fields), {}),
    ],
)
def test_lists_objects_and_numbers_may_be_text_and_null_is_absent(given, expected):
    found = checked("launch", **given)
    assert found.items() >= (given if expected is None else expected).items()
    assert None not in found.values()


def test_lists_of_other_tools_may_be_text():
    assert checked("wait", ids='["bg-1"]', any="true", timeoutMs="10") == {
        "ids": ["bg-1"],
        "any": True,
        "timeoutMs": 10,
    }
    assert checked("list", status='["pending"]', limit="3")["status"] == ["pending"]
    assert checked("list", status="pending")["status"] == ["pending"]
    assert checked("output", id="bg-1", offset="0", limit="12") == {"id": "bg-1", "offset": 0, "limit": 12}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"command": "make test"}, "command: expected a list of arguments, such as"),
        ({"command": '["a", 5]'}, "command[1]: expected text, got 5"),
        ({"command": '{"a": 1}'}, "command: expected a list of arguments, such as"),
        ({"priority": "high"}, "priority: expected a whole number"),
        ({"priority": "5000"}, "priority: expected a whole number from -1000 to 1000, got '5000'"),
        ({"priority": "NaN"}, "priority: expected a whole number"),
        ({"priority": "9" * 5000}, "priority: expected a whole number"),
        ({"args": "[" * 99_999}, "args: expected a list"),
        ({"env": "[1]"}, "env: expected an object"),
        ({"nonsense": "[1]"}, "nonsense: expected a known name"),
    ],
)
def test_text_that_is_no_such_value_is_refused(given, words):
    with pytest.raises(InvalidInput) as refusal:
        checked("launch", **given)
    assert words in str(refusal.value)


def message(**fields: Any) -> str:
    """Return a request as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", **fields})


@pytest.mark.parametrize(
    ("line", "id", "code"),
    [
        ("garbage", None, -32700),
        ("[" * 99_999, None, -32700),
        ("\ufffd", None, -32700),
        ("[1]", None, -32600),
        ('"text"', None, -32600),
        ("{}", None, -32600),
        (message(params={"name": "list", "arguments": {"parentSessionId": "a\ud800"}}), 7, -32600),
        (message(params={"name": "list\ud800"}), 7, -32600),
        (message(method="\udfff"), 7, -32600),
        (message(id="\ud800"), None, -32600),
        (message(method=5), 7, -32600),
        (message(jsonrpc="1.0"), 7, -32600),
        (message(id=[1]), None, -32600),
        (message(params=[1]), 7, -32600),
    ],
)
def test_message_that_cannot_be_read_is_answered_with_an_error(line, id, code):
    refusal = refusal_of(line)
    assert refusal is not None
    assert (refusal["id"], refusal["error"]["code"]) == (id, code)
    assert len(json.dumps(refusal)) < 1000


@pytest.mark.parametrize("text", ["plain", "\U0001f600", "\\ud800", "nul \0", "\u2028"])
def test_message_with_valid_text_is_not_refused(text):
    assert refusal_of(message(params={"name": "list", "arguments": {"parentSessionId": text}})) is None
    assert refusal_of('{"jsonrpc": "2.0", "method": "notifications/initialized"}') is None


def read(*raw: bytes) -> tuple[list[Any], list[Any]]:
    """Return the messages in these lines, and the answers to those that are refused."""

    async def lines() -> AsyncIterator[bytes]:
        for line in raw:
            yield line

    async def main() -> list[Any]:
        return [json.loads(line) async for line in CheckedInput(lines(), refused.append)]

    refused: list[Any] = []
    return asyncio.run(main()), refused


def test_byte_order_mark_and_blank_lines_are_passed_over():
    messages, refused = read(b"\xef\xbb\xbf" + message().encode() + b"\r\n", b"\n", b"  \n", b"x\n")
    assert [found["id"] for found in messages] == [7]
    assert [found["id"] for found in refused] == [None]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("{}", {}), ('{"ids": ["a"]}', {"ids": ["a"]}), ("[1]", "[1]"), ("words", "words"), ({"a": "{}"}, {"a": "{}"})],
)
def test_arguments_may_be_text_as_a_whole(given, expected):
    messages, _ = read(message(params={"name": "list", "arguments": given}).encode())
    assert messages[0]["params"] == {"name": "list", "arguments": expected}
