"""RQ with redis. Its simple worker does not fork for each job, which favours it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from redis import Redis
from rq import Queue

from scripts.bench_parts.peers.calls import note

CHUNK = 100


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks in bulk."""
    queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_URL"]))

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for start in range(0, count, CHUNK):
            places = range(start, min(start + CHUNK, count))
            queue.enqueue_many([Queue.prepare_data(note, args=(f"{parent}-{place}",)) for place in places])
        return {"began": began}

    return enqueue
