"""An agent's words for its failure, as a person reads them."""

from __future__ import annotations

import json

import pytest

from backburner.supervisor.execution.wording import LONGEST, MOST, cause, plain

#: As Google's errors come: an error is the message of an error.
WITHIN = json.dumps({"error": {"code": 429, "message": "out of quota"}}, indent=1)
GOOGLE = json.dumps({"error": {"code": 429, "message": WITHIN, "status": "Too Many Requests"}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no key", "no key"),
        ('{"message": "no key", "statusCode": 401, "isRetryable": false}', "401 no key"),
        ('401 {"type":"error","error":{"type":"authentication_error","message":"no key"}}', "401 no key"),
        ('[API Error: {"error":{"code":401,"message":"no key","status":"UNKNOWN"}}]', "[API Error: 401 no key]"),
        (f"[API Error: {GOOGLE}]", "[API Error: 429 out of quota]"),
        ('failed {"code": 1, "message": "error 1"} and {"error": {"detail": "no"}}', "failed error 1 and no"),
    ],
)
def test_json_in_a_text_is_told_by_its_message_and_its_status(text: str, words: str):
    assert plain(text) == words


@pytest.mark.parametrize(
    "text", ["", "{", "a {b} c", '{"ok": 1}', '{"error": "x"}', '{"message": ""}', '{"message": ["x"]}', "{" * 2000]
)
def test_what_says_nothing_stays_as_it_is(text: str):
    assert plain(text) == text


@pytest.mark.parametrize("depth", [700, 999])
def test_what_is_covered_too_often_stays_as_it_is_and_breaks_nothing(depth: int):
    text = '{"error":' * depth + '{"message":"no"}' + "}" * depth
    assert plain(text[:MOST]) == text[:MOST]


def test_a_cause_is_one_short_line_or_nothing():
    assert cause(" \n ") == ""
    assert cause("it broke\n  here\n") == ": it broke here"
    assert cause("x" * 9999) == ": " + "x" * LONGEST
