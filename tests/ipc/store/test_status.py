from __future__ import annotations

from pathlib import Path

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import Lock
from backburner.ipc.model.claim import Slot
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.status import status


def test_living_roles_are_told_by_their_locks_and_workers_by_their_rows(home: Path):
    found = Home(home).prepare()
    database = SqliteStore(found)
    registry = database.hosts
    queue = Queue(database, DEFAULT_BACKGROUND_CONFIG)
    queue.launch(LaunchInput(command=("true",), model="opus"))
    adopted = registry.register("worker")
    supervisor, lock = registry.register("supervisor"), Lock(found.lock("supervisor"))
    assert lock.acquire()
    queue.claim(Slot("opus", 1), adopted)
    told = status(database)
    lock.release()
    registry.deregister(supervisor)
    database.close()
    assert told["supervisor"]["startedAt"].endswith("Z")
    assert told["flusher"] is None
    (worker,) = told["workers"]
    assert (worker["concurrencyKey"], worker["slot"]) == ("opus", 1)
    assert worker["taskId"] is not None
    assert told["keys"] == [{"key": "opus", "limit": 2, "running": 1, "pending": 0, "paused": False}]
