"""SqliteHuey at its defaults."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from huey import SqliteHuey

from bench_parts.peers.told import note

huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"))


@huey.task()
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Enqueue so many."""

    def enqueue(parent: str, count: int) -> dict[str, float]:
        began = time.monotonic()
        for place in range(count):
            noop(f"{parent}-{place}")
        return {"began": began}

    return enqueue
