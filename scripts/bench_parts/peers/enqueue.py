"""Enqueuing for systems without a bulk call."""

from __future__ import annotations

import time
from collections.abc import Callable


def one_by_one(send: Callable[[str], object]) -> Callable[[str, int], dict[str, float]]:
    """Return a remote function that sends the tokens of a parent one by one, and returns when it began."""

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            send(f"{parent}-{place}")
        return {"began": began}

    return enqueue
