from __future__ import annotations

import socket
from selectors import DefaultSelector

import pytest

from backburner.supervisor.pool.control_line import ControlLine


class Forked(Exception):
    """Stands for the forked child, which never returns."""


def test_child_forked_between_two_orders_keeps_no_channel_of_the_next():
    here, there = socket.socketpair()
    mine, worker = socket.socketpair()
    mine.settimeout(10)

    def run_child(order, channel, slot):
        line.drop()
        raise Forked

    with DefaultSelector() as selector, mine, here:
        line = ControlLine(there, selector, run_child)
        here.sendall(b'{"spawn": "flusher", "ticket": 1}\n')
        with worker:
            socket.send_fds(here, [b'{"spawn": "worker", "ticket": 2, "channel": true}\n'], [worker.fileno()])
        with pytest.raises(Forked):
            line._read(0)
        assert mine.recv(1) == b""
