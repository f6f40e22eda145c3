"""Dramatiq with redis."""

from __future__ import annotations

import os
from collections.abc import Callable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from scripts.bench_parts.peers.calls import note
from scripts.bench_parts.peers.enqueue import one_by_one

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_URL"]))


@dramatiq.actor
def noop(token: str) -> None:
    """Record the call."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks."""

    return one_by_one(noop.send)
