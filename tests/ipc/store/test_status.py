"""The status document."""

from __future__ import annotations

from backburner.ipc.machine.identity import Identity
from backburner.ipc.machine.lock import Lock
from backburner.ipc.store.status import status


def test_status_finds_roles_by_their_locks_and_workers_by_the_process_table(queue_db):
    hosts, me = queue_db.store.hosts, Identity.mine()
    queue_db.launch(model="opus")
    adopted = hosts.register("worker", me)
    supervisor, lock = hosts.register("supervisor", me), Lock(queue_db.home.lock("supervisor"))
    assert lock.acquire()
    queue_db.claim("opus", 1, adopted)
    document = status(queue_db.store)
    lock.release()
    hosts.deregister(supervisor)
    assert document["supervisor"]["startedAt"].endswith("Z")
    assert document["flusher"] is None
    (worker,) = document["workers"]
    assert (worker["concurrencyKey"], worker["slot"]) == ("opus", 1)
    assert worker["taskId"] is not None
    assert document["keys"] == [{"key": "opus", "limit": 2, "running": 1, "pending": 0, "paused": False}]
