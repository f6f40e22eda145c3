"""Dramatiq with redis."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench_parts.peers.told import note

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_URL"]))


@dramatiq.actor
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Send so many."""

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            noop.send(f"{parent}-{place}")
        return {"began": began}

    return enqueue
