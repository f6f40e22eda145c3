"""Numbers agree with their nouns."""

from __future__ import annotations

import pytest

from backburner.ipc.text.counts import count_of, counted


@pytest.mark.parametrize(
    ("noun", "nouns"),
    [("task", "tasks"), ("process", "processes"), ("batch", "batches"), ("file", "files"), ("more task", "more tasks")],
)
def test_number_agrees_with_its_noun(noun, nouns):
    assert [count_of(number, noun) for number in (0, 1, 2)] == [f"0 {nouns}", f"1 {noun}", f"2 {nouns}"]
    assert [counted(number, nouns) for number in (0, 1, 2)] == [f"0 {nouns}", f"1 {noun}", f"2 {nouns}"]
