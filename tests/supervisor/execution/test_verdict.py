"""The error message in an agent's output."""

from __future__ import annotations

import json

import pytest

from backburner.supervisor.execution.verdict import MAX_CAUSE, MAX_SEARCHED, as_clause, unwrap_json

#: Google's errors are nested: the message of an error is an error, as JSON.
INNER = json.dumps({"error": {"code": 429, "message": "out of quota"}}, indent=1)
GOOGLE = json.dumps({"error": {"code": 429, "message": INNER, "status": "Too Many Requests"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no key", "no key"),
        ('{"message": "no key", "statusCode": 401, "isRetryable": false}', "401 no key"),
        ('401 {"type":"error","error":{"type":"authentication_error","message":"no key"}}', "401 no key"),
        ('[API Error: {"error":{"code":401,"message":"no key","status":"UNKNOWN"}}]', "[API Error: 401 no key]"),
        (f"[API Error: {GOOGLE}]", "[API Error: 429 out of quota]"),
        ('failed {"code": 1, "message": "error 1"} and {"error": {"detail": "no"}}', "failed error 1 and no"),
    ],
)
def test_json_in_a_text_is_replaced_by_its_status_and_message(text: str, message: str):
    assert unwrap_json(text) == message


@pytest.mark.parametrize(
    "text", ["", "{", "a {b} c", '{"ok": 1}', '{"error": "x"}', '{"message": ""}', '{"message": ["x"]}', "{" * 2000]
)
def test_text_without_an_error_message_stays_unchanged(text: str):
    assert unwrap_json(text) == text


@pytest.mark.parametrize("depth", [700, 999])
def test_json_that_is_nested_too_deeply_stays_unchanged(depth: int):
    text = '{"error":' * depth + '{"message":"no"}' + "}" * depth
    assert unwrap_json(text[:MAX_SEARCHED]) == text[:MAX_SEARCHED]


def test_cause_is_one_short_line_or_empty():
    assert as_clause(" \n ") == ""
    assert as_clause("it broke\n  here\n") == ": it broke here"
    assert as_clause("x" * 9999) == ": " + "x" * MAX_CAUSE
