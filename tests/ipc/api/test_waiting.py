"""Waits for process trees, whatever state the bus is in."""

from __future__ import annotations

import socket
from threading import Thread

from backburner.ipc.api import waiting
from backburner.ipc.machine.identity import Identity


def test_wait_for_a_tree_ends_although_the_bus_does_not_respond(queue_db, monkeypatch):
    monkeypatch.setattr(waiting, "READ_TIMEOUT", 0.1)
    id = queue_db.launch()
    claimed = queue_db.claim(owner=queue_db.store.hosts.register("worker", Identity.mine()))
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(queue_db.home.bus)
        bus.listen()
        waiter = Thread(target=waiting.wait_until_gone, args=(queue_db.queue, [id]), daemon=True)
        waiter.start()
        client, _address = bus.accept()
        with client:
            client.recv(1024)
            queue_db.settle(claimed)
            waiter.join(10)
    assert not waiter.is_alive()
