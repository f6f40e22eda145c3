"""taskiq with redis streams and acknowledgement."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from taskiq_redis import RedisStreamBroker

from scripts.bench_parts.peers.calls import note

broker = RedisStreamBroker(url=os.environ["BENCH_URL"])


@broker.task(task_name="noop")
async def noop(token: str) -> None:
    """Record the call."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.startup())

    async def kick(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            await noop.kiq(f"{parent}-{place}")
        return {"began": began}

    return lambda parent, count: loop.run_until_complete(kick(parent, count))
