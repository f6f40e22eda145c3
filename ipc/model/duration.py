"""Durations as callers in Python give them: seconds, or a timedelta."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from .. import clock
from ..errors import InvalidInput
from ..mistakes import describe, within
from .launch import LONGEST

#: A number of seconds, or a timedelta.
Duration = float | timedelta

#: The fields of a launch with a duration in milliseconds, by their other names, which take a `Duration`.
FIELDS = {"delay": "delay_ms", "timeout": "timeout_ms"}


def to_seconds(value: object, field: str) -> float:
    """Return a duration in seconds. Raises InvalidInput, which names the field."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not within(seconds, 0, LONGEST / 1000):
        expected = f"seconds from 0 to {LONGEST // 1000}, or a timedelta"
        got = str(value) if isinstance(value, timedelta) else describe(value)
        raise InvalidInput(f"{field}: expected {expected}, got {got}", field=field)
    assert isinstance(seconds, int | float), "within accepts only numbers"
    return float(seconds)


def to_milliseconds(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return fields of a launch with `delay` and `timeout` as `delay_ms` and `timeout_ms`. None is the same as absent.

    Raises InvalidInput, which names the field within `where`, also if both forms are given.
    """
    converted = {name: value for name, value in values.items() if name not in FIELDS}
    for name, field in FIELDS.items():
        path = f"{where}.{name}" if where else name
        if values.get(name) is None:
            continue
        if converted.get(field) is not None:
            raise InvalidInput(f"{path}: give {name} or {field}, not both", field=path)
        converted[field] = clock.whole_milliseconds(to_seconds(values[name], path))
    return converted
