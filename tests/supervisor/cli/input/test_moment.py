from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import pytest

from backburner.ipc import clock
from backburner.supervisor.cli.input.moment import MOMENT

#: 02:00 in Tokyo.
NOW = datetime(2026, 11, 29, 17, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the time zone be Tokyo's, and the time be `NOW`."""
    monkeypatch.setattr(clock, "now", lambda: round(NOW.timestamp() * 1000))
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("03:00", 1),
        ("3:00", 1),
        ("02:00:01", 1 / 3600),
        ("02:00", 24),
        ("01:30", 23.5),
        ("2026-11-30T03:00", 1),
        ("2026-11-30 03:00", 1),
        ("2026-11-29T18:00Z", 1),
        ("2026-11-29T18:00+02:00", -1),
        ("2026-12-01", 22),
    ],
)
def test_time_is_in_the_zone_of_this_process_unless_it_names_one(text: str, hours: float):
    if hours > 0:
        assert MOMENT.convert(text, None, None) == timedelta(hours=hours) / timedelta(milliseconds=1)
    else:
        with pytest.raises(click.BadParameter, match="in the past"):
            MOMENT.convert(text, None, None)


@pytest.mark.parametrize("text", ["", "25:00", "03:60", "3", "noon", "2026-13-01", "0001-01-01", "9999-12-31T23:59"])
def test_other_times_are_refused(text: str):
    with pytest.raises(click.BadParameter):
        MOMENT.convert(text, None, None)
