"""Rules that extract a value from the output of an agent."""

from __future__ import annotations

import pytest

from backburner.ipc.config.extract import pick, pointer, read

LINES = """noise
{"type": "item", "item": {"kind": "thought", "text": "hm"}}
{"type": "item", "item": {"kind": "answer", "text": "first"}}
{"type": "item", "item": {"kind": "answer", "text": "last"}, "ok": true}
more noise {
{"type": "end", "usage": {"in": 3}, "parts": [{"name": "a"}, {"text": "t"}, {"name": "b"}]}
"""
PIECES = """{"role": "user", "text": "x"}
{"role": "model", "text": "old"}
{"tool": "t"}
{"role": "model", "text": "pon"}
a library speaks
{"role": "model", "text": "g"}
{"end": 1}
"""


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("stdout", "a\nb"),
        ("last-line", "b"),
        ("stdout~a|b", "b"),
        ("stdout~(?m)^(.)$", "b"),
        ("stdout~c", None),
        ("stderr~E(r+)!", "rr"),
        ("json:x", None),
    ],
)
def test_text_rule_finds_the_output_or_a_match(rule: str, found: str | None):
    assert read(rule, "a\nb\n", "Ego Err!") == found


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("jsonl:item.text", "last"),
        ("jsonl:item.text[item.kind=thought]", "hm"),
        ("jsonl:item.text[item.kind=answer][ok=true]", "last"),
        ("jsonl:item.text[type=end]", None),
        ("jsonl:usage.in", 3),
        ("jsonl:parts.*.name", "b"),
        ("jsonl:parts.0.name", "a"),
        ("jsonl:parts.-1.name", "b"),
        ("jsonl:parts.3.name", None),
        ("jsonl:nothing", None),
    ],
)
def test_pointer_finds_the_last_line_that_has_a_value(rule: str, found: object):
    assert pick(rule, LINES) == found


def test_answer_in_pieces_is_joined_from_the_last_unbroken_run():
    assert pick("jsonl+:text[role=model]", PIECES) == "pong"
    assert pick("jsonl+:text[role=nobody]", PIECES) is None


def test_value_that_is_not_text_is_read_as_json():
    assert read("jsonl:usage", LINES) == '{"in": 3}'


def test_star_finds_the_values_at_all_indices():
    document = {"parts": [{"name": "a"}, {"text": "t"}, {"name": "b"}, {"name": None}], "type": "end"}
    assert list(pointer("jsonl:parts.*.name[type=end]").values(document)) == ["a", "b"]
    assert list(pointer("jsonl:parts.*.name[type=start]").values(document)) == []


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85"])
def test_lines_of_json_end_at_a_newline_alone(letter: str):
    line = f'{{"type": "turn.failed", "text": "one{letter}two"}}\r\n'
    assert read("jsonl:type", line) == "turn.failed"
    assert read("jsonl+:text", line) == f"one{letter}two"


@pytest.mark.parametrize(
    "line",
    [
        '\x1b[0m{"a": "b"}',
        '\ufeff{"a": "b"}',
        '\x1b[?25l\x1b]0;title\x07 npm warn: {"a": "b"}\x1b[0m',
        'prefix> {"a": "b"} ',
        'loading {1}\rloading {20}\r{"a": "b"}\r',
        '{"a": "b"}\rdone',
    ],
)
def test_noise_before_a_line_of_json_is_passed_over(line: str):
    assert read("jsonl:a", f"x\n{line}\n{{broken\n") == "b"
    assert read("json:a", line) == "b"


def test_list_after_an_escape_sequence_is_read():
    assert read("json:0.a", '\x1b[0m[{"a": "b"}]') == "b"
