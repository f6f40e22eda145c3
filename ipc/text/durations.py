"""Durations as text for people."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def format_setting(milliseconds: float) -> str:
    """Return a duration that was chosen, without decimals that say nothing: «3 s», not «3.0 s»."""
    return format_duration(milliseconds).replace(".0 s", " s")


def format_duration(milliseconds: float) -> str:
    """Return a duration in at most two units: «850 ms», «12 s», «3 m 20 s», «2 d 4 h»."""
    if milliseconds < 1000:
        return f"{round(milliseconds)} ms"
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{milliseconds / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
    first = next(index for index, (_, size) in enumerate(_UNITS) if seconds >= size)
    parts = [(seconds // _UNITS[first][1], _UNITS[first][0])]
    rest, second = seconds % _UNITS[first][1], _UNITS[first + 1]
    if rest // second[1]:
        parts.append((rest // second[1], second[0]))
    return " ".join(f"{number} {unit}" for number, unit in parts)
