from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.supervisor.cli.tables import (
    Cell,
    display_width,
    format_fields,
    format_table,
    sanitize,
    status_cell,
    truncate,
)


class Terminal(io.StringIO):
    """A terminal whose size is unknown."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no descriptor")


PLAIN = io.StringIO()


def test_columns_are_aligned_without_trailing_blanks():
    text = format_table(("A", "LONGER", "C"), [("1", "2", "3"), ("1234", "x", "")], PLAIN)
    assert text == "A     LONGER  C\n1     2       3\n1234  x\n"


def test_empty_column_is_left_out():
    assert format_table(("A", "B", "C"), [("1", "", "3")], PLAIN) == "A  C\n1  3\n"


def test_wide_characters_take_two_columns():
    lines = format_table(("A", "B"), [("日本", "x"), ("abcd", "y")], PLAIN).splitlines()
    assert lines[1:] == ["日本  x", "abcd  y"]


def test_terminal_has_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    rows = [(status_cell("error"),)]
    assert "\x1b[31merror\x1b[0m" in format_table(("S",), rows, Terminal())
    assert "\x1b" not in format_table(("S",), rows, PLAIN)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in format_table(("S",), rows, Terminal())


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x07b", "a\nb", "a\r\nb\tc", "\x9b31m"])
def test_control_characters_do_not_reach_the_terminal(text: str):
    assert sanitize(text).isprintable()
    assert "\x1b" not in format_fields([("x", text)], PLAIN).replace("\n", "")


def test_further_lines_of_a_field_are_indented():
    assert format_fields([("name", "one\ntwo"), ("x", Cell("y"))], PLAIN) == "name  one\n      two\nx     y\n"


@given(st.text(), st.integers(2, 40))
def test_truncated_text_fits_the_width(text: str, room: int):
    assert display_width(truncate(sanitize(text), room)) <= room
