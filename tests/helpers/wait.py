"""The only way in which a test waits: for a condition, never for a time. Imports nothing of backburner."""

from __future__ import annotations

import inspect
import select
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.1


class WaitTimeout(AssertionError):
    """A condition did not become true in time."""


def eventually(predicate: Callable[[], Seen], timeout: float = 10, message: str | Callable[[], object] = "") -> Seen:
    """Wait until `predicate()` is true, and return its value.

    Pauses grow from 1 to 100 ms. After `timeout` seconds WaitTimeout names the condition and the last value seen.
    `message` describes the condition; a callable is called only then. Without one, the line of code is shown.
    An exception that the predicate raises is passed on.
    """
    end = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not (seen := predicate()):
        if time.monotonic() >= end:
            text = message() if callable(message) else message
            raise WaitTimeout(f"waited {timeout:g} s for {text or _source(predicate)}; last seen: {seen!r}")
        select.select([], [], [], pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return seen


def _source(predicate: Callable[[], object]) -> str:
    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)
