"""Celery with redis, late acknowledgement and ignored results."""

from __future__ import annotations

import os
from collections.abc import Callable

from celery import Celery

from scripts.bench_parts.peers.calls import note
from scripts.bench_parts.peers.enqueue import one_by_one

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.task_acks_late = True


@app.task(ignore_result=True, name="noop")
def noop(token: str) -> None:
    """Record the call."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks."""

    return one_by_one(noop.delay)
