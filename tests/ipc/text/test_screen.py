from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.text.screen import last_line, one_line, screen_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\n\n", ["one", "two"]),
        ("10%\r50%\r100%\ndone", ["100%", "done"]),
        ("downloading\rok", ["okwnloading"]),
        ("downloading\r\x1b[Kok", ["ok"]),
        ("abc\b\bx", ["axc"]),
        ("\x1b[1;31merror\x1b[0m: no", ["error: no"]),
        ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", ["link"]),
        ("a: 0%\nb: 0%\n\x1b[2A\x1b[2Ka: 9%\n\x1b[2Kb: 8%\n", ["a: 9%", "b: 8%"]),
        ("old\n\x1b[2J\x1b[Hnew", ["new"]),
        ("a\r\nb\tc", ["a", "b       c"]),
        ("ring\x07 \x00nul \x9b31mred \u202egnp\u202c", ["ring nul red gnp"]),
        ("e\u0301\rx", ["x"]),
        ("\x1bPdata\x1b\\x \x1b(By", ["x y"]),
        ("abc\x1b[3Gx\x1b[2D-", ["a-x"]),
        ("a\u00a0b\u2028c", ["a b c"]),
    ],
)
def test_screen_lines_are_what_a_terminal_shows_at_the_end(text: str, shown: list[str]):
    assert screen_lines(text) == shown


@pytest.mark.parametrize(
    ("text", "line"), [("", ""), ("\n \n", ""), ("a\nb \n\n", "b"), ("failed\n\r\x1b[K", "failed"), ("x\r\n", "x")]
)
def test_last_line_has_text(text: str, line: str):
    assert last_line(text) == line


def test_one_line_is_cut_to_its_length():
    assert one_line("a\n b\t c") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("a\x1b[31mb\x1b[0mc", 4) == "abc"


@given(st.text(alphabet=st.sampled_from("ab\r\b\n\t\x1b[]K2JACD;m\x07\x9b\x9d\u0301é\u200d\ud800")))
def test_any_text_becomes_printable_lines(text: str):
    assert all(line.isprintable() for line in screen_lines(text))


@pytest.mark.parametrize(
    "part", ["\x1b[999999999C", "\x1b[1K", "\b", "x" * 100 + "\x1b[1K", "\x1b[", "\x1b]", "\x90", "e\u0301"]
)
def test_hostile_text_takes_bounded_time(part: str):
    began = time.process_time()
    screen_lines(part * (2_000_000 // len(part)))
    assert time.process_time() - began < 1
