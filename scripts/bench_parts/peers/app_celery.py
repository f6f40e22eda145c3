"""Celery with redis, acknowledged late, its results ignored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from celery import Celery

from bench_parts.peers.told import note

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.task_acks_late = True


@app.task(ignore_result=True, name="noop")
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Send so many."""

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            noop.delay(f"{parent}-{place}")
        return {"began": began}

    return enqueue
