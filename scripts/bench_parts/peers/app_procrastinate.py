"""procrastinate with PostgreSQL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import procrastinate

from scripts.bench_parts.peers.calls import note

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]))
CHUNK = 100


@app.task(name="noop")
def noop(token: str) -> None:
    """Record the call."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Create the schema, and return a remote function that enqueues tasks in bulk."""
    app.open()
    app.schema_manager.apply_schema()

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for start in range(0, count, CHUNK):
            tokens = [{"token": f"{parent}-{place}"} for place in range(start, min(start + CHUNK, count))]
            noop.batch_defer(*tokens)
        return {"began": began}

    return enqueue
