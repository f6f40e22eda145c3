"""The only way in which a test waits: for a moment, never for a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

from backburner.ipc import clock

Seen = TypeVar("Seen")

FIRST_NAP = 0.001
LONGEST_NAP = 0.1


def eventually(predicate: Callable[[], Seen], timeout: float = 10, message: str = "") -> Seen:
    """Wait until `predicate()` is true and return what it gave.

    Naps grow from 1 to 100 ms. After `timeout` seconds, AssertionError says what was waited for (`message`,
    or the line of code that holds the predicate) and what was seen last. An exception of the predicate's own
    goes through.
    """
    end = clock.monotonic() + timeout
    nap = FIRST_NAP
    while not (seen := predicate()):
        if clock.monotonic() >= end:
            raise AssertionError(f"waited {timeout} s for {message or _text(predicate)}; last seen: {seen!r}")
        clock.nap(nap)
        nap = min(nap * 1.5, LONGEST_NAP)
    return seen


def _text(predicate: Callable[[], object]) -> str:
    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)
