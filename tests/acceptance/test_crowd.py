"""Five parents with two hundred commands each, over three keys: watched from outside, told whole, nothing left."""

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
EACH = 200
LIMITS = {"opus": 2, "sonnet": 3, "haiku": 5}

#: Seconds between two looks at /proc.
LOOK = 0.005

#: One job: count oneself in, stay a while, count oneself out, all in one shared book. A shell: a thousand are started.
#: What it stays on is a pipe that nobody writes to.
JOB = """\
exec 9>>"$1"; flock 9; echo "+ $2" >&9; flock -u 9
read -t "$4" nothing <>"$3"
flock 9; echo "- $2" >&9
"""
STAY, LONG = "0.02", "600"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("flock") is None, reason="looks into /proc; its jobs use flock(1)"
)


class Count:
    """How many of each key are in, and the most that ever were."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def add(self, sign: str, key: str) -> None:
        self.inside[key] += 1 if sign == "+" else -1
        self.most[key] = max(self.most[key], self.inside[key])

    def see(self, inside: Counter[str]) -> None:
        self.inside = inside
        self.most |= inside

    def over(self, limits: dict[str, int]) -> dict[str, int]:
        """The keys of which there were more at once than allowed, and how many."""
        return {key: most for key, most in self.most.items() if most > limits[key]}


def counted(book: Path) -> Count:
    """The jobs' own book, each line written under a lock."""
    count = Count()
    for line in book.read_text().splitlines():
        count.add(*line.split())
    return count


class Watcher:
    """Looks at the process table all the time: how many jobs of each key are there at once."""

    def __init__(self, mark: str) -> None:
        self.count = Count()
        self.looks = 0
        self._mark = os.fsencode(mark)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(TIMEOUT)

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.looks += 1
            self.count.see(Counter(self._jobs().values()))

    def _jobs(self) -> dict[tuple[int, int], str]:
        """Those that were there at one moment: seen before it, and still there after it."""
        found = {who: key for name in os.listdir("/proc") if name.isdigit() for who, key in self._job(int(name))}
        return {who: key for who, key in found.items() if start_ticks(who[0]) == who[1]}

    def _job(self, pid: int) -> Iterator[tuple[tuple[int, int], str]]:
        """A job is the leader of its session; what it forks is not counted a second time."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if len(words) > 5 and words[4] == self._mark and os.getsid(pid) == pid and (ticks := start_ticks(pid)):
                yield (pid, ticks), words[5].decode()
        except OSError:
            return


@pytest.fixture
def crowded(instance: Instance) -> Callable[..., Instance]:
    def start(**limits: int) -> Instance:
        return instance.up(
            model_concurrency=limits, notification_batch_window_ms=50, worker_idle_s=1, durability="normal"
        )

    return start


@pytest.fixture
def book(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "book.pipe")
    return tmp_path / "book"


def launched(instance: Instance, book: Path) -> dict[str, list[str]]:
    """Launch from a thread per parent, as sessions of their own do; ids by parent."""
    found: dict[str, list[str]] = {}
    instance.close_database()

    def launch(parent: str) -> None:
        database = SqliteStore(instance.home, "normal")
        queue = Queue(database, BackgroundConfig())
        wanted = [job(book, parent, list(LIMITS)[number % 3], STAY) for number in range(EACH)]
        found[parent] = [one.id for at in range(0, EACH, 20) for one in queue.launch_many(wanted[at : at + 20])]
        database.close()

    threads = [threading.Thread(target=launch, args=(parent,)) for parent in PARENTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return found


def job(book: Path, parent: str, key: str, stay: str) -> LaunchInput:
    argv = ["bash", "-c", JOB, "job", str(book), key, str(book.with_suffix(".pipe")), stay]
    document = {"command": argv, "model": key, "parentSessionId": parent, "cwd": str(book.parent)}
    return LaunchInput.from_json(document)


class Listener(threading.Thread):
    """One parent's subscription, until its last end is told in a batch."""

    def __init__(self, instance: Instance, parent: str, expected: int) -> None:
        super().__init__(daemon=True)
        self.heard: list[Event] = []
        self._stage, self._parent, self._expected = instance, parent, expected
        self._told = 0

    def run(self) -> None:
        self.heard = self._stage.listen(self._parent, self._is_last)

    def _is_last(self, event: Event) -> bool:
        self._told += event.data.get("count", 0)
        return self._told >= self._expected


def check_told(events: list[Event], ids: list[str], parent: str) -> None:
    """Every end once, by seq, in order; every batch counts right; only the last says that all is done."""
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
    told = (batch["completedCount"], batch["failedCount"], batch["cancelledCount"])
    assert told == (statuses["completed"], statuses["error"], statuses["cancelled"])


def keepers(instance: Instance) -> dict[str, int]:
    """The roles that stay, and how many descriptors each holds."""
    return {role: len(open_files(instance.pid_of(role))) for role in ("supervisor", "flusher", "forkServer")}


def more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Return the roles that hold more than before, apart from the watch that an idle role keeps on the database."""
    return {role: held for role, held in now.items() if held > before[role] + 1}


def test_a_crowd_keeps_to_its_limits_is_told_everything_once_and_leaves_nothing(crowded, book: Path):
    instance = crowded(**LIMITS)
    warm(instance)
    before = keepers(instance)
    with Watcher(str(book)) as watcher:
        listeners = {parent: Listener(instance, parent, EACH) for parent in PARENTS}
        for listener in listeners.values():
            listener.start()
        ids = launched(instance, book)
        for listener in listeners.values():
            listener.join(40)
            assert not listener.is_alive(), instance.status()
    for parent, listener in listeners.items():
        check_told(listener.heard, ids[parent], parent)
    assert (counted(book).over(LIMITS), watcher.count.over(LIMITS)) == ({}, {})
    assert counted(book).inside.total() == 0
    assert counted(book).most["opus"] == watcher.count.most["opus"] == LIMITS["opus"]
    check_left(instance, before)


def check_left(instance: Instance, before: dict[str, int]) -> None:
    eventually(lambda: instance.status()["workers"] == [], TIMEOUT, "the idle workers to leave")
    eventually(lambda: more(keepers(instance), before) == {}, TIMEOUT, f"no more descriptors than before: {before}")
    assert instance.files() == []
    instance.down()
    assert processes_of(instance.folder) == []
    assert instance.files() == []


def warm(instance: Instance) -> None:
    """Every role has opened what it needs once, and its workers have left."""
    instance.result("true", parentSessionId="warm")
    instance.batches("warm", 1)
    eventually(lambda: instance.status()["workers"] == [], TIMEOUT, "the worker to leave")


def test_the_watchers_catch_a_limit_that_is_off_by_one(crowded, book: Path):
    """The same eyes, the same jobs, on a supervisor that was told one more than they allow."""
    raised = {key: limit + 1 for key, limit in LIMITS.items()}
    instance = crowded(**raised)
    with Watcher(str(book)) as watcher:
        instance.queue.launch_many([job(book, "ses-0", key, LONG) for key in LIMITS for _ in range(8)])
        eventually(lambda: watcher.count.over(LIMITS) == raised, TIMEOUT, "the watcher to report")
        eventually(lambda: counted(book).over(LIMITS) == raised, TIMEOUT, "the book to show it")


def test_the_book_tells_one_too_many_from_as_many_as_allowed(tmp_path: Path):
    book = tmp_path / "book"
    book.write_text("+ opus\n+ opus\n- opus\n+ opus\n+ sonnet\n")
    assert counted(book).over(LIMITS) == {}
    book.write_text(book.read_text() + "+ opus\n")
    assert counted(book).over(LIMITS) == {"opus": 3}
