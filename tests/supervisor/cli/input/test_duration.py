from __future__ import annotations

import click
import pytest

from backburner.supervisor.cli.input.duration import DURATION, WholeNumber


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("90", 90_000),
        ("0", 0),
        ("0ms", 0),
        ("250ms", 250),
        ("1.5s", 1500),
        ("0.07s", 70),
        (".5m", 30_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        (" 3 s ", 3000),
        ("1h30m", 5_400_000),
        ("1d 2h 3m 4s 5ms", 93_784_005),
        ("2 min", 120_000),
        ("1 hour 30 minutes", 5_400_000),
        ("3 m 20 s", 200_000),
    ],
)
def test_duration_is_numbers_with_units_or_a_number_of_seconds(text: str, milliseconds: int):
    assert DURATION.convert(text, None, None) == milliseconds


@pytest.mark.parametrize("text", ["0.4ms", "0.0004s", "0.00000001d"])
def test_positive_duration_never_becomes_none(text: str):
    assert DURATION.convert(text, None, None) == 1


@pytest.mark.parametrize(
    "text",
    ["-1", "-5s", "", "s", "1w", "1h30", "1 2", "1e3", "nan", "inf", "1,5", "٣", "99999999d", "1h-30m", "1H"],
)
def test_invalid_duration_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize("text", ["high", "1.5", "", "5000", "-5000"])
def test_error_about_a_number_names_the_range(text: str):
    with pytest.raises(click.BadParameter, match="must be a whole number from -1000 to 1000"):
        WholeNumber(-1000, 1000).convert(text, None, None)
