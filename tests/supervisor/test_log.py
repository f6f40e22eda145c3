"""The log file: repeated errors, and its rotation."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.supervisor import log
from backburner.supervisor.log import log_trouble, rotate_log


def test_long_log_is_rotated_while_other_processes_append(home: Path, monkeypatch: pytest.MonkeyPatch):
    found = Home(home).prepare()
    descriptor = os.open(found.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    monkeypatch.setattr(log, "STDERR", descriptor)
    monkeypatch.setattr(log, "LOG_LIMIT", 10)
    for text in ("long line 1\n", "long line 2\n"):
        os.write(descriptor, text.encode())
        rotate_log(found)
        assert (home / "supervisor.log.1").read_text() == text
        assert found.log.read_text() == ""
    os.write(descriptor, b"short\n")
    rotate_log(found)
    assert found.log.read_text() == "short\n"
    assert stat.S_IMODE((home / "supervisor.log.1").stat().st_mode) == 0o600
    os.close(descriptor)


def test_log_of_another_process_is_not_rotated(home: Path, monkeypatch: pytest.MonkeyPatch):
    found = Home(home).prepare()
    found.log.write_text("long line")
    monkeypatch.setattr(log, "LOG_LIMIT", 1)
    rotate_log(found)
    assert found.log.read_text() == "long line"


def test_repeated_error_is_logged_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log, "_trouble", ("", 0.0))
    for why in ("full", "full", "locked", "full"):
        log_trouble(0.5, why)
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == ["full", "locked", "full"]
