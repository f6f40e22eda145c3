from __future__ import annotations

import click
import pytest

from backburner.supervisor.cli.options import DURATION
from backburner.supervisor.cli.text import format_duration


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("90", 90_000),
        ("0", 0),
        ("250ms", 250),
        ("1.5s", 1500),
        (".5m", 30_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("0.0004s", 0),
        (" 3 s ", 3000),
    ],
)
def test_a_duration_is_a_number_and_a_unit_and_bare_it_is_seconds(text: str, milliseconds: int):
    assert DURATION.convert(text, None, None) == milliseconds


@pytest.mark.parametrize("text", ["-1", "-5s", "", "s", "1w", "1h30m", "1e3", "nan", "inf", "1,5", "٣", "99999999d"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


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
def test_a_duration_is_told_in_at_most_two_units(milliseconds: int, words: str):
    assert format_duration(milliseconds) == words
