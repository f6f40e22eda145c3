from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.supervisor.cli.tables import (
    FIXED,
    Cell,
    Column,
    Look,
    display_width,
    format_fields,
    format_table,
    sanitize,
    status_cell,
    table_lines,
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


def test_long_line_of_a_field_is_wrapped_to_fit_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.supervisor.cli.tables.terminal_width", lambda _stream: 20)
    text = format_fields([("name", "one two three four"), ("path", "/a/" + "b" * 30)], PLAIN)
    assert text == f"name  one two three\n      four\npath  /a/{'b' * 30}\n"


@given(st.text(), st.integers(2, 40))
def test_truncated_text_fits_the_width(text: str, room: int):
    assert display_width(truncate(sanitize(text), room)) <= room


@pytest.mark.parametrize(("text", "width"), [("日本", 4), ("🎉", 2), ("❤\ufe0f", 2), ("e\u0301", 1), ("a\u200db", 2)])
def test_width_is_that_on_a_terminal(text: str, width: int):
    assert display_width(text) == width


@given(
    st.lists(st.lists(st.text(max_size=60), min_size=6, max_size=6), min_size=1, max_size=5),
    st.sampled_from([60, 80, 200]),
)
def test_table_fits_and_keeps_its_first_columns(rows: list[list[str]], room: int):
    head = [Column("ID", FIXED), Column("STATUS", FIXED), Column("A", rank=3), Column("B", rank=2), Column("C", rank=1)]
    rows = [["x" * 8, "running", *row[2:]] for row in rows]
    lines = table_lines([*head, Column("TASK", wanted=30)], rows, Look(room, colours=False))
    assert max(map(display_width, lines)) <= room
    assert all(line.startswith("xxxxxxxx  running") for line in lines[1:])


def test_main_column_is_cut_after_all_others_are_left_out():
    head = [Column("ID", FIXED), Column("A", 8, rank=2), Column("B", 8, rank=1), Column("TASK", wanted=30)]
    row = ["x" * 8, "a" * 20, "b" * 20, "t" * 30]
    shown = {room: table_lines(head, [row], Look(room, colours=False))[1].split() for room in (90, 60, 50, 45, 30)}
    assert shown[90] == row
    assert [len(text) for text in shown[60]] == [8, 8, 8, 30]
    assert [len(text) for text in shown[50]] == [8, 8, 30]
    assert shown[45] == ["x" * 8, "t" * 30]
    assert shown[30] == ["x" * 8, "t" * 19 + "…"]


def test_pipe_cuts_nothing():
    assert (
        table_lines(["A", "B"], [["a" * 500, "b" * 500]], Look(None, colours=False))[1] == f"{'a' * 500}  {'b' * 500}"
    )
