"""Times in the past: a duration before now, a clock time, or a date and a time."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

import click

from ....ipc import clock
from .duration import parse_duration

_CLOCK_TIME = re.compile(r"\s*(\d{1,2}):(\d\d)(?::(\d\d))?\s*", re.ASCII)


class Since(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """A duration such as `1h`, a clock time such as `09:00`, or a time in ISO 8601, by default in the local zone.

    It is converted to milliseconds since 1970. A clock time that has not come today means yesterday.
    """

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds since 1970. Raises BadParameter."""
        if isinstance(value, int):
            return value
        text, now = str(value), clock.now()
        try:
            duration = parse_duration(text)
            return round(now - duration) if duration is not None else _moment(text)
        except (ValueError, OverflowError, OSError):  # OSError: a year that the C library cannot convert
            self.fail(f"{text!r} is not a time; use 1h30m, 09:00 or 2026-01-31T09:00", param, ctx)


def _moment(text: str) -> int:
    found = _CLOCK_TIME.fullmatch(text)
    if found is None:
        return round(datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    now = clock.to_datetime(clock.now()).astimezone()
    then = time(int(found[1]), int(found[2]), int(found[3] or 0))
    days = (now.date() - timedelta(days=days) for days in (0, 1, 2))
    moments = (datetime.combine(day, then).astimezone() for day in days)
    return round(next(moment for moment in moments if moment <= now).timestamp() * 1000)


SINCE = Since()
