from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backburner.supervisor.system.systemd import KeepAlive, notify

Received = Callable[[], list[str]]


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """A service manager; returns the states that it has received since the last call."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def receive() -> list[str]:
            states = []
            while True:
                try:
                    states.append(manager.recv(100).decode())
                except BlockingIOError:
                    return states

        yield receive


def test_notify_sends_the_state_to_the_service_manager(received: Received):
    notify("READY=1")
    assert received() == ["READY=1"]


def test_no_pings_without_a_limit(received: Received, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    keep_alive = KeepAlive()
    keep_alive.ping_if_due()
    assert (received(), keep_alive.rest()) == ([], float("inf"))


def test_three_pings_are_sent_in_each_limit(received: Received, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    now = [1000.0]
    monkeypatch.setattr("backburner.ipc.clock.monotonic", lambda: now[0])
    keep_alive = KeepAlive()
    for _ in range(6):
        keep_alive.ping_if_due()
        assert 0 < keep_alive.rest() <= 10
        now[0] += 5
    assert received() == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(("usec", "pid"), [("rubbish", ""), ("0", ""), ("1000000", "1")])
def test_no_pings_for_an_invalid_limit_or_another_process(
    received: Received, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    KeepAlive().ping_if_due()
    assert received() == []
