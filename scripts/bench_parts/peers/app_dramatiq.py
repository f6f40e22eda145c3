"""Dramatiq with redis."""

from __future__ import annotations

import os
from collections.abc import Callable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from scripts.bench_parts.peers.enqueue import one_by_one
from scripts.bench_parts.peers.told import note

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_URL"]))


@dramatiq.actor
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Send so many."""

    return one_by_one(noop.send)
