"""Times at which a task may start: a clock time, or a date and a time."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

import click

from ....ipc import clock

_CLOCK_TIME = r"\s*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*"


class Moment(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """A clock time such as `03:00`, or a time in ISO 8601, in this process's time zone unless it names another one.

    It is converted to the milliseconds from now until then. A clock time that has passed today means tomorrow.
    """

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds from now. Raises BadParameter."""
        if isinstance(value, int):
            return value
        text, now = str(value), clock.to_datetime(clock.now())
        try:
            then = _next(_clock_time(text), now) if re.fullmatch(_CLOCK_TIME, text) else _time(text)
            delay = (then - now) / timedelta(milliseconds=1)
        except (ValueError, OverflowError, OSError):  # OSError: a year that the C library cannot convert
            self.fail(f"{text!r} is not a time; use a time such as 03:00 or 2026-12-24T03:00", param, ctx)
        if delay <= 0:
            self.fail(f"{text!r} is in the past", param, ctx)
        from ....ipc.model.launch import LONGEST

        if delay > LONGEST:
            self.fail(f"{text!r} is more than 30 years away", param, ctx)
        return round(delay)


def _clock_time(text: str) -> time:
    match = re.fullmatch(_CLOCK_TIME, text)
    assert match is not None, "the caller has matched it"
    return time(int(match[1]), int(match[2]), int(match[3] or 0))


def _next(then: time, now: datetime) -> datetime:
    """Return the next moment at which the local clock shows a time."""
    today = now.astimezone().date()
    moments = (datetime.combine(today + timedelta(days=days), then).astimezone() for days in (0, 1, 2))
    return next(moment for moment in moments if moment > now)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.strip()).astimezone()


MOMENT = Moment()
