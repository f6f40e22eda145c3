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

from ipc.config import BackgroundConfig
from ipc.database import Database
from ipc.event import Event
from ipc.queue import Queue
from ipc.task import LaunchInput
from tests.helpers.moment import eventually
from tests.helpers.stage import PATIENCE, Stage, descriptors
from tests.helpers.strays import strays

PARENTS = tuple(f"ses-{number}" for number in range(5))
EACH = 200
LIMITS = {"opus": 2, "sonnet": 3, "haiku": 5}

#: Seconds between two looks at /proc.
LOOK = 0.005

#: One job: count oneself in, stay a moment, count oneself out, all in one shared file. A shell, since a thousand are started.
JOB = """\
exec 9>>"$1"; flock 9; echo "+ $2 $$" >&9; flock -u 9
read -t 0.005 nothing <>"$3"
flock 9; echo "- $2 $$" >&9
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("flock") is None, reason="looks into /proc; its jobs use flock(1)"
)


class Count:
    """What a sequence of «+ key» and «- key» comes to: the most that were in at once."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def add(self, sign: str, key: str) -> None:
        self.inside[key] += 1 if sign == "+" else -1
        self.most[key] = max(self.most[key], self.inside[key])

    def over(self, limits: dict[str, int]) -> dict[str, int]:
        """The keys of which there were more at once than allowed, and how many."""
        return {key: most for key, most in self.most.items() if most > limits[key]}


def counted(book: Path) -> Count:
    """The jobs' own book, each line written under a lock."""
    count = Count()
    for line in book.read_text().splitlines():
        sign, key, _ = line.split()
        count.add(sign, key)
    return count


class Watcher:
    """Looks at the process table, 200 times a second: how many jobs of each key are there at once."""

    def __init__(self, mark: str) -> None:
        self.most: Counter[str] = Counter()
        self.looks = 0
        self._mark = os.fsencode(mark)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def over(self, limits: dict[str, int]) -> dict[str, int]:
        return {key: most for key, most in self.most.items() if most > limits[key]}

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.looks += 1
            now = Counter(self._jobs())
            for key, number in now.items():
                self.most[key] = max(self.most[key], number)

    def _jobs(self) -> Iterator[str]:
        for name in os.listdir("/proc"):
            if name.isdigit() and (key := self._key_of(name)):
                yield key

    def _key_of(self, pid: str) -> str | None:
        """The key of a job that is no zombie; a dead one has no command line any more."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        return words[5].decode() if len(words) > 5 and words[4] == self._mark else None


@pytest.fixture
def crowded(stage: Stage) -> Callable[..., Stage]:
    def start(**limits: int) -> Stage:
        return stage.up(
            model_concurrency=limits, notification_batch_window_ms=50, worker_idle_s=1, durability="normal"
        )

    return start


def launched(stage: Stage, book: Path, parents: tuple[str, ...], each: int) -> dict[str, list[str]]:
    """Launch from a thread per parent, as sessions of their own do; ids by parent."""
    found: dict[str, list[str]] = {}
    pipe = book.with_suffix(".pipe")
    os.mkfifo(pipe)

    def launch(parent: str) -> None:
        database = Database(stage.home, "normal")
        queue = Queue(database, BackgroundConfig())
        wanted = [job(stage, book, parent, list(LIMITS)[number % 3]) for number in range(each)]
        found[parent] = [one.id for at in range(0, each, 20) for one in queue.launch_many(wanted[at : at + 20])]
        database.close()

    threads = [threading.Thread(target=launch, args=(parent,)) for parent in parents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return found


def job(stage: Stage, book: Path, parent: str, key: str) -> LaunchInput:
    argv = ["bash", "-c", JOB, "job", str(book), key, str(book.with_suffix(".pipe"))]
    document = {"command": argv, "model": key, "parentSessionId": parent, "cwd": str(stage.folder.parent)}
    return LaunchInput.from_json(document)


class Listener(threading.Thread):
    """One parent's subscription, until its last end is told in a batch."""

    def __init__(self, stage: Stage, parent: str, expected: int) -> None:
        super().__init__(daemon=True)
        self.heard: list[Event] = []
        self._stage, self._parent, self._expected = stage, parent, expected
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


def keepers(stage: Stage) -> dict[str, int]:
    """The roles that stay, and how many descriptors each holds."""
    return {role: len(descriptors(stage.pid_of(role))) for role in ("supervisor", "flusher", "nursery")}


@pytest.mark.timeout(60)
def test_a_crowd_keeps_to_its_limits_is_told_everything_once_and_leaves_nothing(crowded, tmp_path: Path):
    stage = crowded(**LIMITS)
    warm(stage)
    before = keepers(stage)
    book = tmp_path / "book"
    with Watcher(str(book)) as watcher:
        listeners = {parent: Listener(stage, parent, EACH) for parent in PARENTS}
        for listener in listeners.values():
            listener.start()
        ids = launched(stage, book, PARENTS, EACH)
        for listener in listeners.values():
            listener.join(50)
            assert not listener.is_alive(), stage.status()
    for parent, listener in listeners.items():
        check_told(listener.heard, ids[parent], parent)
    assert watcher.looks > 100
    assert (counted(book).over(LIMITS), watcher.over(LIMITS)) == ({}, {})
    assert counted(book).inside == Counter(dict.fromkeys(LIMITS, 0))
    assert {key: counted(book).most[key] for key in LIMITS} == LIMITS  # and every slot was used
    eventually(lambda: stage.status()["workers"] == [], PATIENCE, "the idle workers to leave")
    eventually(lambda: keepers(stage) == before, 10, f"the descriptors to be {before} again: {keepers(stage)}")
    assert stage.files() == []
    stage.down()
    assert strays(stage.folder) == []
    assert stage.files() == []


def warm(stage: Stage) -> None:
    """Every role has opened what it needs once, and its workers have left."""
    stage.result("true", parentSessionId="warm")
    stage.batches("warm", 1)
    eventually(lambda: stage.status()["workers"] == [], PATIENCE, "the worker to leave")


def test_the_watchers_catch_a_limit_that_is_off_by_one(crowded, tmp_path: Path):
    """The same eyes on a supervisor that was told one more than they allow."""
    stage = crowded(**{key: limit + 1 for key, limit in LIMITS.items()})
    book = tmp_path / "book"
    with Watcher(str(book)) as watcher:
        ids = launched(stage, book, ("ses-0",), 150)
        for id in ids["ses-0"]:
            stage.until(id)
    raised = {key: limit + 1 for key, limit in LIMITS.items()}
    assert counted(book).over(LIMITS) == raised
    assert watcher.over(LIMITS) == raised


def test_the_book_catches_one_line_too_many(tmp_path: Path):
    book = tmp_path / "book"
    book.write_text("+ opus 1\n+ opus 2\n- opus 1\n+ opus 3\n+ sonnet 9\n")
    assert counted(book).over(LIMITS) == {}
    with book.open("a") as file:
        file.write("+ opus 4\n")
    assert counted(book).over(LIMITS) == {"opus": 3}
