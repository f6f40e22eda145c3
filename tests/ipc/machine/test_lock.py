from __future__ import annotations

from pathlib import Path

import pytest

from backburner.ipc.machine import lock
from backburner.ipc.machine.lock import Lock, holder
from backburner.supervisor.pool import recovery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lock"
    path.touch()
    return path


@pytest.mark.parametrize("then", [None, 4711])
def test_holder_waits_until_a_dying_process_is_gone(path: Path, monkeypatch: pytest.MonkeyPatch, then: int | None):
    answers = iter([0, 0, then])
    monkeypatch.setattr(lock, "_ask_kernel", lambda _descriptor: next(answers))
    assert holder(path) == then


def test_holder_in_another_namespace_has_no_strays(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "_ask_kernel", lambda _descriptor: 0)
    monkeypatch.setattr(lock, "DYING", 0.01)
    monkeypatch.setattr(recovery, "children_of", lambda _pid: {1})
    assert holder(path) == 0
    assert recovery._strays_of(holder(path)) == set()


def test_free_lock_has_no_holder(path: Path):
    assert holder(path) is None
    assert holder(path.with_name("nothing")) is None
    own = Lock(path)
    assert own.acquire()
    assert holder(path) is not None
    own.release()
