from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner.ipc.bus.jsonrpc import INVALID_REQUEST
from backburner.ipc.lines import LineReader, LineTooLong


def test_lines_are_cut_however_they_arrive():
    reader = LineReader()
    reader.feed(b"a\nb")
    assert list(reader.lines()) == [b"a"]
    reader.feed(b"c\n\nd\n")
    assert list(reader.lines()) == [b"bc", b"", b"d"]
    assert list(reader.lines()) == []


def test_reading_lines_may_stop_and_be_resumed():
    reader = LineReader()
    reader.feed(b"a\nb\nc\n")
    assert next(reader.lines()) == b"a"
    assert list(reader.lines()) == [b"b", b"c"]


def test_line_one_byte_above_the_limit_is_refused():
    reader = LineReader(limit=4)
    reader.feed(b"1234\n")
    assert list(reader.lines()) == [b"1234"]
    reader.feed(b"12345\n")
    with pytest.raises(LineTooLong):
        list(reader.lines())


def test_unfinished_line_above_the_limit_is_refused_for_good():
    reader = LineReader(limit=4)
    reader.feed(b"ok\n12345")
    lines = reader.lines()
    assert next(lines) == b"ok"
    with pytest.raises(LineTooLong) as refused:
        next(lines)
    assert refused.value.rpc_code == INVALID_REQUEST
    reader.feed(b"\nmore\n")
    with pytest.raises(LineTooLong):
        list(reader.lines())


def test_long_line_in_many_pieces_is_searched_once():
    reader = LineReader(limit=8 * 1024 * 1024)
    for _ in range(200_000):
        reader.feed(b"x" * 32)
        assert next(reader.lines(), None) is None
    reader.feed(b"\n")
    assert len(next(reader.lines())) == 32 * 200_000


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
@example([b"x" * 31 + b"\n"], 30)
def test_any_bytes_are_lines_or_too_long_and_take_little_memory(chunks, limit):
    reader, lines = LineReader(limit), []
    whole = b"".join(chunks)
    with suppress(LineTooLong):
        for chunk in chunks:
            reader.feed(chunk)
            lines += reader.lines()
            assert len(reader._buffer) <= limit
    expected = whole.split(b"\n")
    assert lines == expected[: len(lines)]
    rest = expected[len(lines) :]
    assert len(rest) == 1 or len(rest[0]) > limit
