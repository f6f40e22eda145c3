"""The line between supervisor and fork server, with descriptors on it."""

from __future__ import annotations

import socket
from selectors import DefaultSelector

import pytest

from backburner.supervisor.pool.control_line import ControlLine


class Forked(Exception):
    """Here is the child, which never returns."""


def test_who_is_forked_between_two_orders_keeps_no_line_of_the_next_one():
    here, there = socket.socketpair()
    mine, worker = socket.socketpair()
    mine.settimeout(10)

    def be_the_child(order, channel):
        line.drop()
        raise Forked

    with DefaultSelector() as selector, mine, here:
        line = ControlLine(there, selector, be_the_child)
        here.sendall(b'{"spawn": "flusher", "ticket": 1}\n')
        with worker:
            socket.send_fds(here, [b'{"spawn": "worker", "ticket": 2, "channel": true}\n'], [worker.fileno()])
        with pytest.raises(Forked):
            line._readable(0)
        assert mine.recv(1) == b""
