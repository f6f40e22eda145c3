"""The error message in an agent's output."""

from __future__ import annotations

import json

import pytest

from backburner.supervisor.execution.verdict import MAX_CAUSE, MAX_SEARCHED, Output, as_clause, outcome_of, unwrap_json

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


@pytest.mark.parametrize(
    ("stdout", "stderr", "error"),
    [
        ("41 lines", "make: *** no rule\n", "exit code 2: make: *** no rule"),
        ("done 3/4\n2 tests failed\n\n", " \n", "exit code 2: 2 tests failed"),
        ("", "copying 10%\rcopying 60%\r\x1b[Kcp: no space\n", "exit code 2: cp: no space"),
        ("", "\x1b]0;x\x07\x1b[31mred\x1b[0m\n\x1b[2K\r\n", "exit code 2: red"),
        ("", "", "exit code 2"),
    ],
)
def test_cause_is_the_last_line_that_a_terminal_shows(stdout: str, stderr: str, error: str):
    assert outcome_of(2 << 8, Output(stdout, stderr), None).error == error
