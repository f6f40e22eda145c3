"""SqliteHuey with its defaults."""

from __future__ import annotations

import os
from collections.abc import Callable

from huey import SqliteHuey

from scripts.bench_parts.peers.calls import note
from scripts.bench_parts.peers.enqueue import one_by_one

huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"))


@huey.task()
def noop(token: str) -> None:
    """Record the call."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks."""

    return one_by_one(noop)
