from __future__ import annotations

import io

import pytest

from backburner.supervisor.cli.streams.sinks import LONGEST_LINE, Descriptor, Headed, Labelled, Tail


@pytest.fixture
def file() -> io.BytesIO:
    return io.BytesIO()


@pytest.mark.parametrize("pieces", [[b"a\nb\nc\nd"], [b"a\n", b"b", b"\nc\n", b"d"], [b"\n", b"a\nb\n", b"c\nd"]])
def test_tail_has_the_last_lines_and_then_everything(file: io.BytesIO, pieces: list[bytes]):
    tail = Tail(Descriptor(file), 2)
    for piece in pieces:
        tail.write(piece)
    assert file.getvalue() == b""
    tail.flush()
    assert file.getvalue() == b"c\nd"
    tail.write(b"e\nf")
    tail.finish()
    assert file.getvalue() == b"c\nde\nf"


def test_tail_of_no_lines_has_only_what_follows(file: io.BytesIO):
    tail = Tail(Descriptor(file), 0)
    tail.write(b"a\nb")
    tail.flush()
    tail.write(b"c\n")
    assert file.getvalue() == b"c\n"


def test_each_line_is_labelled_when_it_is_complete(file: io.BytesIO):
    labelled = Labelled(Descriptor(file), lambda: "1 | ")
    labelled.write(b"a\nb")
    assert file.getvalue() == b"1 | a\n"
    labelled.finish()
    assert file.getvalue() == b"1 | a\n1 | b\n"


def test_line_without_an_end_is_passed_on_in_pieces(file: io.BytesIO):
    labelled = Labelled(Descriptor(file), str)
    labelled.write(b"x" * (LONGEST_LINE + 1))
    assert len(file.getvalue()) > LONGEST_LINE


@pytest.mark.parametrize(
    ("before", "start"), [(b"out\n", b"out\nstderr:\n"), (b"out", b"out\nstderr:\n"), (b"", b"stderr:\n")]
)
def test_heading_comes_before_the_first_byte_on_a_separate_line(file: io.BytesIO, before: bytes, start: bytes):
    first = Descriptor(file)
    headed = Headed(Descriptor(file), "stderr:", first)
    first.write(before)
    headed.write(b"")
    assert file.getvalue() == before
    headed.write(b"a")
    headed.write(b"b")
    assert file.getvalue() == start + b"ab"
