from __future__ import annotations

import pytest

from backburner.supervisor.cli.text import format_duration


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (850, "850 ms"),
        (1000, "1.0 s"),
        (59_400, "59 s"),
        (60_000, "1 m"),
        (200_000, "3 m 20 s"),
        (3_600_000, "1 h"),
        (187_200_000, "2 d 4 h"),
    ],
)
def test_format_duration_uses_at_most_two_units(milliseconds: int, words: str):
    assert format_duration(milliseconds) == words
