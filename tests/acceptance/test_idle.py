"""The roles of an idle home do not poll, and still notice every change."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.bus.client import Client
from backburner.ipc.home import Home
from backburner.ipc.machine.proc import is_stopped
from backburner.ipc.model.event import Event
from backburner.ipc.store import parking
from backburner.supervisor.system.file_watch import WATCHED_POLL
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance, is_removed
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.processes import are_gone
from tests.helpers.wait import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and /proc")

#: Seconds within which a role must notice a change: far less than the poll of a role that trusts its watch.
SOON = WATCHED_POLL / 4

#: Seconds between the polls of a role without a trusted watch, in these tests.
POLL = 0.5
SHORT_POLL = f"""
import sys
sys.path.append({str(IMPORT_ROOT)!r})
import backburner.supervisor.system.file_watch as file_watch
file_watch.FALLBACK_POLL = {POLL}
"""

#: Makes inotify_init1(2) fail, as if the user had used up all instances.
NO_INOTIFY = """
import ctypes, errno

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        return refuse if name == "inotify_init1" else super().__getattr__(name)

def refuse(*_):
    ctypes.set_errno(errno.EMFILE)
    return -1

ctypes.CDLL = Library
"""


def up_with(instance: Instance, code: str, folder: Path, **settings: object) -> Instance:
    """Start the roles with code that each of them runs first."""
    (folder / "sitecustomize.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        return instance.up(**BRISK, **settings)


@pytest.fixture
def live(instance: Instance, tmp_path: Path) -> Instance:
    """Start roles with short polls."""
    return up_with(instance, SHORT_POLL, tmp_path)


@pytest.fixture
def unwatched(instance: Instance, tmp_path: Path) -> Instance:
    """Start roles that get no inotify instance."""
    return up_with(instance, SHORT_POLL + NO_INOTIFY, tmp_path)


@pytest.fixture
def silent() -> Iterator[None]:
    """Make this process commit without waking a role. Request it after the instance: its shutdown wakes roles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Home, "wake", lambda *_: False)
        yield


def rest(instance: Instance) -> None:
    """Wait until neither role has run for longer than the poll of a role without a trusted watch."""
    for role in ("supervisor", "flusher"):
        rest_of(instance.pid_of(role), role)


def rest_of(pid: int, role: str) -> None:
    eventually(lambda seen=[-1, 0.0]: _is_resting(pid, seen), TIMEOUT, f"the {role} to rest")


def _is_resting(pid: int, seen: list[float]) -> bool:
    if (count := switches(pid)) != seen[0]:
        seen[:] = count, clock.monotonic()
    return clock.monotonic() - seen[1] > 1.5 * POLL


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches")))


def has_inotify(pid: int) -> bool:
    return any(os.readlink(path) == "anon_inode:inotify" for path in Path(f"/proc/{pid}/fd").iterdir())


class Subscriber(threading.Thread):
    """Receives the events of one parent."""

    def __init__(self, instance: Instance, parent: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(instance.home)
        self.received: list[Event] = []
        self._parent = parent

    def run(self) -> None:
        for event in self.client.events(self._parent, after=0):
            self.received.append(event)

    def close(self) -> None:
        self.client.close()
        self.join()


@pytest.fixture
def subscribe() -> Iterator[Callable[[Instance], Subscriber]]:
    """Subscribe to the events of parent `p`, of which there is one."""
    with ExitStack() as stack:

        def start(instance: Instance) -> Subscriber:
            instance.result("true", parentSessionId="p")
            subscriber = Subscriber(instance, "p")
            stack.callback(subscriber.close)
            subscriber.start()
            eventually(lambda: subscriber.received, TIMEOUT, "the first event")
            return subscriber

        yield start


def paused_task(instance: Instance) -> str:
    """Launch a task that no supervisor will start."""
    instance.check("pause", "paused")
    return instance.launch("true", concurrencyKey="paused", parentSessionId="p")


def expect_end(subscriber: Subscriber, id: str) -> None:
    eventually(lambda: [event for event in subscriber.received if event.data.get("taskId") == id], SOON, "its event")


def test_commit_without_a_hint_is_noticed_by_an_idle_supervisor(live: Instance, silent: None):
    rest(live)
    id = live.launch("echo", "hi")
    eventually(lambda: live.task(id).result == "hi", SOON, "the task to run")


def test_task_claimed_without_a_message_is_noticed_by_a_parked_worker(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    up_with(instance, SHORT_POLL, tmp_path, default_concurrency=1, worker_idle_s=3600)
    instance.result("true")
    (worker,) = instance.status()["workers"]
    rest_of(worker["pid"], "worker")
    monkeypatch.setattr(parking, "send", lambda *_: True)
    id = instance.launch("echo", "hi")
    eventually(lambda: instance.task(id).result == "hi", SOON, "the task to run")


def test_commit_without_a_hint_is_noticed_by_an_idle_flusher(live: Instance, silent: None, subscribe):
    subscriber, id = subscribe(live), paused_task(live)
    rest(live)
    live.queue.cancel(id)
    expect_end(subscriber, id)


def test_commit_without_a_hint_is_noticed_by_polling_without_inotify(unwatched: Instance, silent: None, subscribe):
    subscriber, id = subscribe(unwatched), paused_task(unwatched)
    for pid in map(unwatched.pid_of, ("supervisor", "flusher")):
        before = switches(pid)
        eventually(lambda pid=pid, before=before: switches(pid) >= before + 4, SOON, "it to poll")
        assert not has_inotify(pid)
    unwatched.queue.cancel(id)
    expect_end(subscriber, id)
    id = unwatched.launch("echo", "hi")
    eventually(lambda: unwatched.task(id).result == "hi", SOON, "the task to run")


def test_idle_roles_leave_when_their_home_was_recreated(live: Instance):
    rest(live)
    old = [live.pid_of(role) for role in ("supervisor", "flusher")]
    live.close_store()
    eventually(lambda: is_removed(live.folder), TIMEOUT)
    live.folder.mkdir(0o700)
    live.up(**BRISK)
    eventually(lambda: are_gone(old), SOON)


def test_stopped_flusher_of_an_idle_home_is_continued(live: Instance):
    rest(live)
    pid = live.pid_of("flusher")
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), TIMEOUT)
    eventually(lambda: not is_stopped(pid), SOON)
