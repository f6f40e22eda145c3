"""Durations as people write them."""

from __future__ import annotations

import re

import click

from ...ipc.model.launch import LONGEST

#: Milliseconds of each unit; a bare number is seconds.
UNITS = {"ms": 1, "s": 1000, "": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_FORM = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(ms|[smhd]?)\s*", re.ASCII)


class Duration(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A number and `ms s m h d`; a bare number is seconds. Becomes whole milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds. Fails with a usage error that names the option."""
        if isinstance(value, int):
            return value
        found = _FORM.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} is no duration: a number, not negative, and ms, s, m, h or d, as in 90 or 1.5h",
                param,
                ctx,
            )
        milliseconds = float(found[1]) * UNITS[found[2]]
        if milliseconds > LONGEST:
            self.fail(f"{value!r} is longer than 30 years", param, ctx)
        return round(milliseconds)


DURATION = Duration()


def spoken(milliseconds: float) -> str:
    """A duration in at most two units: «850 ms», «12 s», «3 m 20 s», «2 d 4 h»."""
    if milliseconds < 1000:
        return f"{round(milliseconds)} ms"
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{milliseconds / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
    sizes = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    first = next(place for place, (_, size) in enumerate(sizes) if seconds >= size)
    parts = [(seconds // sizes[first][1], sizes[first][0])]
    rest, size = seconds % sizes[first][1], sizes[first + 1]
    if rest // size[1]:
        parts.append((rest // size[1], size[0]))
    return " ".join(f"{number} {unit}" for number, unit in parts)
