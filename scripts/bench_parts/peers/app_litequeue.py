"""litequeue: a SQLite file; the process that takes a message marks it as done."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from litequeue import LiteQueue

from scripts.bench_parts.peers.calls import note
from scripts.bench_parts.peers.enqueue import one_by_one

#: Seconds between two looks at an empty queue, which has no way to wait.
PAUSE = 0.001


def _queue() -> Any:
    return LiteQueue(os.path.join(os.environ["BENCH_FOLDER"], "queue.db"))


def enqueuer() -> Callable[..., dict[str, float]]:
    """Return a remote function that enqueues tasks."""
    queue = _queue()
    return one_by_one(lambda token: queue.put(json.dumps({"call": "noop", "args": [token]})))


def work() -> None:
    """Run as a worker."""
    queue = _queue()
    while True:
        message = queue.pop()
        if message is None:
            time.sleep(PAUSE)
            continue
        note(*json.loads(message.data)["args"])
        queue.done(message.message_id)


if __name__ == "__main__":
    work()
