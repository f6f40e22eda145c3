"""Celery with redis, acknowledged late, its results ignored."""

from __future__ import annotations

import os
from collections.abc import Callable

from celery import Celery

from scripts.bench_parts.peers.enqueue import one_by_one
from scripts.bench_parts.peers.told import note

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.task_acks_late = True


@app.task(ignore_result=True, name="noop")
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Send so many."""

    return one_by_one(noop.delay)
