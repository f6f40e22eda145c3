"""What systemd is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from backburner.supervisor.system.systemd import Watchdog, notify

Told = Callable[[], list[str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def heard() -> list[str]:
            words = []
            while True:
                try:
                    words.append(ear.recv(100).decode())
                except BlockingIOError:
                    return words

        yield heard


def test_a_word_reaches_who_asked_for_it(told: Told):
    notify("READY=1")
    assert told() == ["READY=1"]


def test_nobody_who_did_not_ask_hears_of_life(told: Told, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    watchdog = Watchdog()
    watchdog.feed()
    assert (told(), watchdog.rest()) == ([], float("inf"))


def test_life_is_told_of_three_times_in_the_time_that_was_given(told: Told, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    now = [1000.0]
    monkeypatch.setattr("backburner.ipc.clock.monotonic", lambda: now[0])
    watchdog = Watchdog()
    for _ in range(6):
        watchdog.feed()
        assert 0 < watchdog.rest() <= 10
        now[0] += 5
    assert told() == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(("usec", "pid"), [("rubbish", ""), ("0", ""), ("1000000", "1")])
def test_a_watchdog_of_somebody_else_or_of_rubbish_is_not_fed(
    told: Told, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    Watchdog().feed()
    assert told() == []
