"""Runs twelve real jobs over this repository for one parent, under three limits, and proves what it promises.

Everything happens in a temporary home, observed from outside. The exit code is 0 only if every promise was kept.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.blackbox import ROOT, Place
from tests.helpers.invariants import BATCH_SENT, STARTED
from tests.helpers.processes import Process
from tests.helpers.rpc import RpcClient, Subscriber

PARENT = "ses-demo"
LIMITS = {"opus": 2, "sonnet": 3, "haiku": 5}

#: Seconds after which a demonstration that has not ended has failed.
TIMEOUT = 25.0

#: Seconds after which a job cannot have ended before its slot was looked up.
LONG = 0.5

#: Columns of the bars that show when jobs ran.
WIDTH = 60

PYTHON = sys.executable

HASH_ALL = """
import hashlib, pathlib
for path in sorted(pathlib.Path(".").glob("[!.]*/**/*.*")):
    if path.is_file():
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
"""

LONGEST_FUNCTIONS = """
import ast, pathlib
found = [
    (node.end_lineno - node.lineno + 1, f"{path}:{node.name}")
    for path in pathlib.Path(".").glob("[!.]*/**/*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
]
print(*sorted(found, reverse=True)[:10], sep="\\n")
"""

LINES = "for folder in ipc supervisor tests; do echo $folder $(find $folder -name '*.py' | xargs cat | wc -l); done"


class Job(NamedTuple):
    """A job: the key that it uses, its command, and the status with which it must end."""

    model: str
    title: str
    command: list[str]
    ends: str = "completed"


def jobs(log: Path) -> list[Job]:
    """Return the twelve jobs; one fails, and one never ends by itself."""
    compiling = [PYTHON, "-m", "compileall", "-q", "-f"]
    ruff = Path(PYTHON).with_name("ruff")
    lint = [str(ruff), "check", "--no-cache", "--exit-zero", "--statistics"]
    return [
        Job("opus", "compile ipc", [*compiling, "ipc"]),
        Job("opus", "compile supervisor", [*compiling, "supervisor"]),
        Job("opus", "compile tests", [*compiling, "tests"]),
        Job("opus", "run the linter", lint if ruff.exists() else [*compiling, "scripts", "examples"]),
        Job("sonnet", "follow the log for ever", ["tail", "-f", str(log)], ends="cancelled"),
        Job("sonnet", "count lines per folder", ["sh", "-c", LINES]),
        Job("sonnet", "grep for raised errors", ["grep", "-rnE", "--include=*.py", "raise [A-Z]", "."]),
        Job("sonnet", "hash all files", [PYTHON, "-c", HASH_ALL]),
        Job("sonnet", "find the longest functions", [PYTHON, "-c", LONGEST_FUNCTIONS]),
        Job("haiku", "read the README as JSON", [PYTHON, "-m", "json.tool", "README.md"], ends="error"),
        Job("haiku", "check the indentation", [PYTHON, "-m", "tabnanny", "ipc", "supervisor"]),
        Job("haiku", "disassemble the queue", [PYTHON, "-m", "dis", "ipc/store/queue.py"]),
    ]


class Parent:
    """The session that launched the jobs: it receives their events, and looks at the process table after each."""

    def __init__(self, place: Place, client: RpcClient, ids: dict[str, Job]) -> None:
        self.place, self.client, self.ids = place, client, ids
        self.slots: dict[str, int] = {}
        self.most: Counter[str] = Counter()
        self.batches: list[dict[str, Any]] = []
        self._received = threading.Semaphore(0)

    @property
    def ended(self) -> int:
        """Return the number of ends in the batches."""
        return sum(batch["count"] for batch in self.batches)

    def watch(self, timeout: float) -> bool:
        """Receive events until all jobs are in batches, and return True if they are in time."""
        subscriber, deadline = (
            Subscriber(self.place.home / "bus.sock", PARENT, self._handle),
            time.monotonic() + timeout,
        )
        subscriber.start()
        while self.ended < len(self.ids) and self._received.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self.most |= Counter(self.ids[id].model for id in self._tasks_with_processes())
        subscriber.close()
        subscriber.check()
        return self.ended >= len(self.ids)

    def _tasks_with_processes(self) -> set[str]:
        """Return the tasks that had processes at one moment: those in two looks at the process table."""
        first, second = self.place.processes(), self.place.processes()
        alive = {one.identity for one in first} & {one.identity for one in second}
        ids = {one.marks.get("BACKBURNER_TASK_ID", "") for one in second if one.identity in alive}
        return ids & self.ids.keys()

    def _handle(self, event: dict[str, Any]) -> None:
        if event["type"] == BATCH_SENT:
            self._handle_batch(event)
        elif event["type"] == STARTED:
            task = self.client.call("get", id=event["taskId"])
            if task["slot"] is not None:
                self.slots[task["id"]] = task["slot"]
        self._received.release()

    def _handle_batch(self, batch: dict[str, Any]) -> None:
        """Print a batch; after the first one, cancel the job that never ends by itself."""
        self.batches.append(batch)
        titles = ", ".join(self.ids[task["id"]].title for task in batch["tasks"])
        last = "  (all complete)" if batch["allComplete"] else ""
        at = datetime.fromisoformat(batch["at"]).astimezone()
        print(f"  {at:%H:%M:%S.%f}"[:-3], f" {batch['message']}{last}\n      {titles}", flush=True)
        if len(self.batches) == 1:
            self.client.call("cancel", id=next(id for id, job in self.ids.items() if job.ends == "cancelled"))


@contextmanager
def supervised(place: Place) -> Iterator[None]:
    """Run a supervisor with the limits of the demonstration."""
    limits = "".join(f"{model} = {limit}\n" for model, limit in LIMITS.items())
    place.configure(f"[model_concurrency]\n{limits}")
    place.check("up", "--detach")
    try:
        yield
    finally:
        place.check("down", "--now")


def launch(place: Place, client: RpcClient, wanted: list[Job]) -> dict[str, Job]:
    """Launch all jobs at once, and return them by id."""
    tasks = [
        {
            "command": job.command,
            "model": job.model,
            "description": job.title,
            "parentSessionId": PARENT,
            "cwd": str(ROOT),
            "env": {"PYTHONPYCACHEPREFIX": str(place.project / "compiled")},
        }
        for job in wanted
    ]
    return dict(zip(client.call("launchMany", tasks=tasks)["ids"], wanted, strict=True))


class Ran(NamedTuple):
    """A job that has ended: when it ran, in seconds since the first one started, and its status."""

    job: Job
    slot: int | None
    begin: float
    end: float
    status: str


def history(parent: Parent, tasks: list[dict[str, Any]]) -> list[Ran]:
    """Return all jobs, ordered by key and slot."""
    first = min(datetime.fromisoformat(task["startedAt"]) for task in tasks)

    def since(time: str) -> float:
        return (datetime.fromisoformat(time) - first).total_seconds()

    found = [
        Ran(
            parent.ids[task["id"]],
            parent.slots.get(task["id"]),
            since(task["startedAt"]),
            since(task["completedAt"]),
            task["status"],
        )
        for task in tasks
    ]
    return sorted(found, key=lambda ran: (list(LIMITS).index(ran.job.model), ran.slot or 0, ran.begin))


def print_table(ran: list[Ran]) -> None:
    """Print which job ran in which slot, and when."""
    whole = max(one.end for one in ran) or 1
    print(f"\n  {'KEY':7} {'SLOT':4} {'JOB':27} {'STATUS':10} {'FROM':>5} {'TO':>6}")
    for one in ran:
        first = round(one.begin / whole * WIDTH)
        bar = " " * first + "█" * max(1, round(one.end / whole * WIDTH) - first)
        slot = "?" if one.slot is None else one.slot
        columns = f"{one.job.model:7} {slot:<4} {one.job.title:27} {one.status:10}"
        print(f"  {columns} {one.begin:5.2f} {one.end:6.2f} s  {bar}")


def most_at_once(ran: list[Ran], model: str) -> int:
    """Return how many jobs of a key ran at the same time, by the database."""
    of_key = [one for one in ran if one.job.model == model]
    return max(sum(other.begin <= one.begin < other.end for other in of_key) for one in of_key)


def _collide(one: Ran, other: Ran) -> bool:
    same = (one.job.model, one.slot) == (other.job.model, other.slot)
    return same and one.begin < other.end and other.begin < one.end


def promises(parent: Parent, ran: list[Ran], left: list[Process]) -> Iterator[tuple[bool, str]]:
    """Yield every promise, and whether it was kept."""
    for model, limit in LIMITS.items():
        by_rows, by_processes = most_at_once(ran, model), parent.most[model]
        counted = f"{by_rows} by the database, {by_processes} in the process table"
        yield max(by_rows, by_processes) <= limit, f"{model}: never more than {limit} at once ({counted})"
    seen = [one for one in ran if one.slot is not None]
    looked = f"{len(seen)} of {len(ran)} jobs were seen in their slots, among them all that took {LONG} s"
    yield all(one in seen for one in ran if one.end - one.begin >= LONG), looked
    yield not any(_collide(*pair) for pair in combinations(seen, 2)), "no slot had two jobs at once"
    yield all(0 <= (one.slot or 0) < LIMITS[one.job.model] for one in seen), "every slot was one of its key"
    ends = Counter(one.status for one in ran)
    counted = ", ".join(f"{number} {status}" for status, number in ends.most_common())
    yield all(one.status == one.job.ends for one in ran), f"every job ended as it had to: {counted}"
    batched = Counter(task["id"] for batch in parent.batches for task in batch["tasks"])
    once = f"each of the {len(parent.ids)} ends was delivered exactly once, in {len(parent.batches)} batches"
    yield batched == Counter(parent.ids.keys()), once
    complete = [batch["allComplete"] for batch in parent.batches]
    only_last = complete[-1:] == [True] and not any(complete[:-1])
    yield only_last, "the last batch, and no other one, reported that all is complete"
    names = ", ".join(f"{process.pid} {process.name}" for process in left) or "none"
    yield not left, f"processes of this home left in the process table: {names}"


def demonstrate(place: Place) -> bool:
    """Run the jobs, and return True if all promises were kept."""
    print(f"backburner in {place.home}: {', '.join(f'{model} {limit}' for model, limit in LIMITS.items())}")
    with supervised(place), place.connect(TIMEOUT) as client:
        parent = Parent(place, client, launch(place, client, jobs(place.home / "supervisor.log")))
        print(f"launched {len(parent.ids)} jobs for {PARENT}, which is notified:", flush=True)
        if not parent.watch(TIMEOUT):
            print(f"after {TIMEOUT:g} s only {parent.ended} of {len(parent.ids)} ends were delivered", file=sys.stderr)
            print(place.check("list"), file=sys.stderr)
            return False
        ran = history(parent, client.call("list", parentSessionId=PARENT)["tasks"])
    print_table(ran)
    print()
    kept = list(promises(parent, ran, place.processes()))
    for is_kept, text in kept:
        print(f"  {'ok  ' if is_kept else 'FAIL'}  {text}")
    return all(is_kept for is_kept, _ in kept)


def main() -> int:
    """Return the exit code."""
    place = Place.create("demo")
    try:
        return 0 if demonstrate(place) else 1
    finally:
        place.remove()


if __name__ == "__main__":
    sys.exit(main())
