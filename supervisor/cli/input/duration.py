"""Durations and whole numbers on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

#: Milliseconds in each unit. A bare number means seconds.
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

#: Other names of the units.
_NAMES = {
    "ms": "millisecond milliseconds",
    "s": "sec secs second seconds",
    "m": "min mins minute minutes",
    "h": "hr hrs hour hours",
    "d": "day days",
}
_UNIT_OF = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}

_PART = r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]*)\s*"


class Duration(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """Numbers with units, such as `90s` or `1h30m`, or a number of seconds. It is converted to whole milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds, at least 1 for a positive duration. Raises BadParameter."""
        if isinstance(value, int):
            return value
        milliseconds = parse_duration(str(value))
        if milliseconds is None:
            self.fail(
                f"{value!r} is not a duration; use numbers with ms, s, m, h or d, such as 90s, 1.5h or 1h30m",
                param,
                ctx,
            )
        from ....ipc import clock
        from ....ipc.model.launch import LONGEST

        if milliseconds > LONGEST:
            self.fail(f"{value!r} is longer than 30 years", param, ctx)
        return clock.whole_milliseconds(milliseconds / 1000)


def parse_duration(text: str) -> float | None:
    """Return the milliseconds of a duration, or None if the text is not a duration. Without a unit, it is seconds."""
    pattern = re.compile(_PART)
    parts, position = [], 0
    while position < len(text) and (part := pattern.match(text, position)):
        parts.append(part)
        position = part.end()
    if not parts or position < len(text):
        return None
    if len(parts) == 1 and not parts[0][2]:
        return float(parts[0][1]) * UNITS["s"]
    if not all(part[2] in _UNIT_OF for part in parts):
        return None
    return sum(float(part[1]) * UNITS[_UNIT_OF[part[2]]] for part in parts)


DURATION = Duration()


class WholeNumber(click.IntRange):
    """A whole number in a range, with an error message that names the range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            low, high = self.min, self.max
            span = f" of {low} or more" if high is None else f" from {low} to {high}"
            self.fail(f"must be a whole number{span}, got {str(value)[:60]!r}", param, ctx)
