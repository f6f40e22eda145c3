"""Sizes as text for people."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def format_bytes(size: float) -> str:
    """Return a size in decimal units: «0 kB», «340 kB», «1.2 MB», «12 GB»."""
    size /= 1000
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}" if unit and size < 10 else f"{size:.0f} {_UNITS[unit]}"
