"""Enqueueing as the peers without a bulk call have it: one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable


def one_by_one(send: Callable[[str], object]) -> Callable[[str, int], dict[str, float]]:
    """What sends so many tokens of a parent, and says when it began."""

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            send(f"{parent}-{place}")
        return {"began": began}

    return enqueue
