"""SqliteHuey at its defaults."""

from __future__ import annotations

import os
from collections.abc import Callable

from huey import SqliteHuey

from scripts.bench_parts.peers.enqueue import one_by_one
from scripts.bench_parts.peers.told import note

huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"))


@huey.task()
def noop(token: str) -> None:
    """Nothing."""
    note(token)


def enqueuer() -> Callable[..., dict[str, float]]:
    """Enqueue so many."""

    return one_by_one(noop)
