"""Five sessions launch one hundred commands each, over three keys.

The limits are checked from outside, every end is reported once, and nothing is left.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.machine.proc import start_ticks
from backburner.ipc.model.event import Event
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.processes import open_files, processes_of
from tests.helpers.wait import eventually

PARENTS = tuple(f"ses-{number}" for number in range(5))
EACH = 100
LIMITS = {"opus": 2, "sonnet": 3, "haiku": 5}

#: Seconds between two readings of /proc.
INTERVAL = 0.005

#: One job: record its start in a shared file, wait, record its end. It is a shell, because hundreds are started.
#: It waits on a pipe to which no process writes.
JOB = """\
exec 9>>"$1"; flock 9; echo "+ $2" >&9; flock -u 9
read -t "$4" nothing <>"$3"
flock 9; echo "- $2" >&9
"""
SHORT, LONG = "0.02", "600"  # seconds that a job takes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("flock") is None, reason="reads /proc; its jobs use flock(1)"
)


class Count:
    """The jobs of each key that run, and the most that ever ran at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.maximum: Counter[str] = Counter()

    def add(self, sign: str, key: str) -> None:
        self.running[key] += 1 if sign == "+" else -1
        self.maximum[key] = max(self.maximum[key], self.running[key])

    def observe(self, running: Counter[str]) -> None:
        self.running = running
        self.maximum |= running

    def over(self, limits: dict[str, int]) -> dict[str, int]:
        """Return the keys that exceeded their limits, each with its maximum."""
        return {key: maximum for key, maximum in self.maximum.items() if maximum > limits[key]}


def counted(record: Path) -> Count:
    """Count the jobs by their own record, of which each line was written under a lock."""
    count = Count()
    for line in record.read_text().splitlines():
        count.add(*line.split())
    return count


class Watcher:
    """Counts the jobs of each key in the process table, all the time."""

    def __init__(self, mark: str) -> None:
        self.count = Count()
        self._mark = os.fsencode(mark)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join(TIMEOUT)

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self.count.observe(Counter(self._jobs().values()))

    def _jobs(self) -> dict[tuple[int, int], str]:
        """Return the jobs that ran at one moment: they were found before it, and still ran after it."""
        found = {job: key for name in os.listdir("/proc") if name.isdigit() for job, key in self._job(int(name))}
        return {(pid, ticks): key for (pid, ticks), key in found.items() if start_ticks(pid) == ticks}

    def _job(self, pid: int) -> Iterator[tuple[tuple[int, int], str]]:
        """Yield the process if it leads a session. Children of a job are not counted."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if len(words) > 5 and words[4] == self._mark and os.getsid(pid) == pid and (ticks := start_ticks(pid)):
                yield (pid, ticks), words[5].decode()
        except OSError:
            return


@pytest.fixture
def start(instance: Instance) -> Callable[..., Instance]:
    """Return a function that starts the supervisor with these limits."""
    settings = {"notification_batch_window_ms": 50, "worker_idle_s": 1, "durability": "normal"}
    return lambda **limits: instance.up(model_concurrency=limits, **settings)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "record.pipe")
    return tmp_path / "record"


def launched(instance: Instance, record: Path) -> dict[str, list[str]]:
    """Launch the tasks of each parent from a separate thread, and return their ids by parent."""
    found: dict[str, list[str]] = {}
    instance.close_store()

    def launch(parent: str) -> None:
        database = SqliteStore(instance.home, "normal")
        queue = Queue(database, BackgroundConfig())
        jobs = [job(record, parent, list(LIMITS)[number % 3], SHORT) for number in range(EACH)]
        found[parent] = [one.id for at in range(0, EACH, 20) for one in queue.launch_many(jobs[at : at + 20])]
        database.close()

    threads = [threading.Thread(target=launch, args=(parent,)) for parent in PARENTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return found


def job(record: Path, parent: str, key: str, seconds: str) -> LaunchInput:
    argv = ["bash", "-c", JOB, "job", str(record), key, str(record.with_suffix(".pipe")), seconds]
    document = {"command": argv, "model": key, "parentSessionId": parent, "cwd": str(record.parent)}
    return LaunchInput.from_json(document)


class Listener(threading.Thread):
    """Subscribes for one parent until its last end was reported in a batch."""

    def __init__(self, instance: Instance, parent: str, expected: int) -> None:
        super().__init__(daemon=True)
        self.received: list[Event] = []
        self._instance, self._parent, self._expected = instance, parent, expected
        self._reported = 0

    def run(self) -> None:
        self.received = self._instance.listen(self._parent, self._is_last)

    def _is_last(self, event: Event) -> bool:
        self._reported += event.data.get("count", 0)
        return self._reported >= self._expected


def check_events(events: list[Event], ids: list[str], parent: str) -> None:
    """Check that every end is reported once and in order, and that every batch counts right."""
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    assert {event.parent_session_id for event in events} == {parent}
    ends = [event.data["taskId"] for event in events if event.type == "background_task_completed"]
    assert sorted(ends) == sorted(ids)
    batches = [event.data for event in events if event.type == "background_tasks_batch"]
    assert [task["id"] for batch in batches for task in batch["tasks"]] == ends
    for batch in batches:
        check_batch(batch)
    assert batches[-1]["allComplete"] is True


def check_batch(batch: Any) -> None:
    statuses = Counter(task["status"] for task in batch["tasks"])
    assert 1 <= batch["count"] == len(batch["tasks"]) <= 5
    counts = (batch["completedCount"], batch["failedCount"], batch["cancelledCount"])
    assert counts == (statuses["completed"], statuses["error"], statuses["cancelled"])


def descriptors(instance: Instance) -> dict[str, int]:
    """Return the number of descriptors that each permanent role holds."""
    return {role: len(open_files(instance.pid_of(role))) for role in ("supervisor", "flusher", "forkServer")}


def leaks(instance: Instance, before: dict[str, int]) -> dict[str, int]:
    """Return the roles that hold more descriptors than before. An idle role has one more: its watch of the database."""
    return {role: held for role, held in descriptors(instance).items() if held > before[role] + 1}


def test_many_tasks_keep_limits_are_each_reported_once_and_leave_nothing(start, record: Path):
    instance = start(**LIMITS)
    warm_up(instance)
    before = descriptors(instance)
    with Watcher(str(record)) as watcher:
        listeners = {parent: Listener(instance, parent, EACH) for parent in PARENTS}
        for listener in listeners.values():
            listener.start()
        ids = launched(instance, record)
        for listener in listeners.values():
            listener.join(40)
            assert not listener.is_alive(), instance.status()
    for parent, listener in listeners.items():
        check_events(listener.received, ids[parent], parent)
    assert (counted(record).over(LIMITS), watcher.count.over(LIMITS)) == ({}, {})
    assert counted(record).running.total() == 0
    assert counted(record).maximum["opus"] == watcher.count.maximum["opus"] == LIMITS["opus"]
    check_left(instance, before)


def check_left(instance: Instance, before: dict[str, int]) -> None:
    eventually(lambda: instance.status()["workers"] == [], TIMEOUT, "the idle workers to exit")
    eventually(lambda: leaks(instance, before) == {}, TIMEOUT, f"the roles to have no more descriptors than {before}")
    assert instance.files() == []
    instance.down()
    assert processes_of(instance.folder) == []
    assert instance.files() == []


def warm_up(instance: Instance) -> None:
    """Run one task, so that every role has opened its files, and wait until its worker has exited."""
    instance.result("true", parentSessionId="warm")
    instance.batches("warm", 1)
    eventually(lambda: instance.status()["workers"] == [], TIMEOUT, "the worker to exit")


def test_checks_notice_a_limit_that_is_off_by_one(start, record: Path):
    raised = {key: limit + 1 for key, limit in LIMITS.items()}
    instance = start(**raised)
    with Watcher(str(record)) as watcher:
        instance.queue.launch_many([job(record, "ses-0", key, LONG) for key in LIMITS for _ in range(8)])
        eventually(lambda: watcher.count.over(LIMITS) == raised, TIMEOUT, "the watcher to report")
        eventually(lambda: counted(record).over(LIMITS) == raised, TIMEOUT, "the record to show the same")


def test_record_shows_a_limit_that_is_exceeded_by_one(tmp_path: Path):
    record = tmp_path / "record"
    record.write_text("+ opus\n+ opus\n- opus\n+ opus\n+ sonnet\n")
    assert counted(record).over(LIMITS) == {}
    record.write_text(record.read_text() + "+ opus\n")
    assert counted(record).over(LIMITS) == {"opus": 3}
