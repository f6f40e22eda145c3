from __future__ import annotations

import errno
import os
import selectors
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.supervisor.system import file_watch
from backburner.supervisor.system.file_watch import FALLBACK_POLL, WATCHED_POLL, FileWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


class Watched:
    """A watch as a role uses it, with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.changes = 0
        self.wal = folder / "backburner.db-wal"
        self.selector = selectors.DefaultSelector()
        self.watch = FileWatch(self.selector, Home(folder), self.note_change)

    def note_change(self) -> None:
        self.changes += 1

    def rest(self) -> float:
        """Rest as long as allowed, without an event, and look again."""
        seconds = self.watch.rest()
        self.now += seconds
        return seconds

    def settle(self) -> None:
        """Rest until the watch is trusted."""
        rests = [self.rest() for _ in range(4)]
        assert rests == [FALLBACK_POLL, FALLBACK_POLL, WATCHED_POLL, WATCHED_POLL]

    def wait(self) -> int:
        """Dispatch what was reported. Return the number of changes."""
        before = self.changes
        for key, mask in self.selector.select(0):
            key.data(mask)
        return self.changes - before


@pytest.fixture
def watched(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    (home / "backburner.db-wal").write_text("a log")
    found = Watched(home)
    monkeypatch.setattr(file_watch.clock, "monotonic", lambda: found.now)
    found.watch.note_activity()
    yield found
    found.selector.close()


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def test_quiet_role_rests_long_after_two_polls_with_an_armed_watch(watched: Watched):
    watched.settle()


def test_write_is_reported_once_and_polling_resumes(watched: Watched):
    watched.settle()
    append(watched.wal)
    append(watched.wal)
    assert watched.wait() == 1
    append(watched.wal)
    assert watched.wait() == 0
    assert watched.rest() == FALLBACK_POLL


def test_write_before_the_watch_is_armed_restarts_the_polls(watched: Watched):
    watched.rest()
    watched.rest()
    append(watched.wal)
    assert watched.wait() == 1
    assert [watched.rest() for _ in range(2)] == [FALLBACK_POLL] * 2


def test_busy_role_arms_no_watch(watched: Watched):
    for _ in range(5):
        assert watched.rest() == FALLBACK_POLL
        watched.watch.note_activity()
    append(watched.wal)
    assert watched.wait() == 0


def test_watch_is_armed_again_after_an_event(watched: Watched):
    for _ in range(3):
        while watched.rest() != WATCHED_POLL:
            pass
        append(watched.wal)
        assert watched.wait() == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda watched: watched.wal.unlink(),
        lambda watched: watched.wal.rename(watched.wal.with_name("away")),
        lambda watched: shutil.rmtree(watched.wal.parent),
        lambda watched: watched.wal.parent.rename(watched.wal.parent.with_name("away")),
    ],
    ids=["log deleted", "log renamed", "folder deleted", "folder renamed"],
)
def test_deleted_and_renamed_files_are_reported(watched: Watched, change):
    watched.settle()
    change(watched)
    assert watched.wait() >= 1
    assert [watched.rest() for _ in range(4)] == [FALLBACK_POLL] * 4
    watched.wal.parent.mkdir(exist_ok=True)


def test_log_that_was_replaced_is_watched_again(watched: Watched):
    watched.settle()
    watched.wal.unlink()
    watched.wait()
    watched.wal.write_text("another log")
    while watched.rest() != WATCHED_POLL:
        pass
    watched.wait()
    while watched.rest() != WATCHED_POLL:
        pass
    append(watched.wal)
    assert watched.wait() == 1


def test_role_without_a_log_keeps_polling(watched: Watched):
    watched.wal.unlink()
    assert [watched.rest() for _ in range(5)] == [FALLBACK_POLL] * 5


@pytest.mark.parametrize("function", ["inotify_init1", "inotify_add_watch"])
def test_role_polls_until_a_watch_is_free(watched: Watched, function: str, monkeypatch: pytest.MonkeyPatch):
    call = file_watch._Inotify._call

    def refuse(self: object, name: str, *arguments: object) -> int:
        if name == function:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(self, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(file_watch._Inotify, "_call", refuse)
        assert [watched.rest() for _ in range(5)] == [FALLBACK_POLL] * 5
    assert [watched.rest() for _ in range(3)] == [FALLBACK_POLL, WATCHED_POLL, WATCHED_POLL]


def test_watch_is_not_inherited_by_programs(watched: Watched):
    watched.settle()
    assert not os.get_inheritable(watched.watch._source.fileno())
