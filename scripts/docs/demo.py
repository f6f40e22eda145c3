"""The main job on real input: one parent, twelve jobs over this repository, three limits, and notices in batches.

Everything happens in a temporary home. The exit code is 0 only if all of it went as promised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from backburner.ipc.api.control import program
from backburner.ipc.bus.client import Client
from backburner.ipc.home import Home
from backburner.ipc.model.event import Event

ROOT = Path(__file__).resolve().parents[2]
PARENT = "ses-demo"
LIMITS = {"opus": 2, "sonnet": 3, "haiku": 5}

#: Seconds after which a demonstration that has not ended has failed.
PATIENCE = 25.0
#: Seconds after which a job cannot have been over before anybody looked.
LONG = 0.5
#: Columns of the picture of who ran when.
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
    """One of the twelve: what it competes for, what it does and how it must end."""

    model: str
    title: str
    command: list[str]
    ends: str = "completed"


def jobs(home: Home) -> list[Job]:
    """The twelve; one fails, one would go on for ever."""
    compiling = [PYTHON, "-m", "compileall", "-q", "-f"]
    ruff = Path(PYTHON).with_name("ruff")
    lint = [str(ruff), "check", "--no-cache", "--exit-zero", "--statistics"]
    return [
        Job("opus", "compile ipc", [*compiling, "ipc"]),
        Job("opus", "compile supervisor", [*compiling, "supervisor"]),
        Job("opus", "compile tests", [*compiling, "tests"]),
        Job("opus", "run the linter", lint if ruff.exists() else [*compiling, "scripts", "examples"]),
        Job("sonnet", "follow the log for ever", ["tail", "-f", str(home.log)], ends="cancelled"),
        Job("sonnet", "count lines per folder", ["sh", "-c", LINES]),
        Job("sonnet", "grep for what is raised", ["grep", "-rnE", "--include=*.py", "raise [A-Z]", "."]),
        Job("sonnet", "hash all files", [PYTHON, "-c", HASH_ALL]),
        Job("sonnet", "find the longest functions", [PYTHON, "-c", LONGEST_FUNCTIONS]),
        Job("haiku", "read the README as JSON", [PYTHON, "-m", "json.tool", "README.md"], ends="error"),
        Job("haiku", "check the indentation", [PYTHON, "-m", "tabnanny", "ipc", "supervisor"]),
        Job("haiku", "disassemble the queue", [PYTHON, "-m", "dis", "ipc/store/queue.py"]),
    ]


class Seen(NamedTuple):
    """A live process of a task, as the process table shows it."""

    task: str
    process: psutil.Process


def processes_of(home: Home) -> Iterator[psutil.Process]:
    """All that live with this home in their environment. A zombie is dead: only its exit code is still there."""
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("BACKBURNER_HOME") == str(home.folder)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):  # it went away meanwhile, or is another user's
            continue


def tasks_in_process_table(home: Home) -> set[str]:
    """The tasks that had a process at one moment: what was seen before it and still lives after it."""
    seen: list[Seen] = []
    for process in processes_of(home):
        try:
            task = process.environ().get("BACKBURNER_TASK_ID")
        except (psutil.Error, OSError):
            continue
        if task:
            seen.append(Seen(task, process))
    return {one.task for one in seen if one.process.is_running()}


class Parent:
    """The session that launched the jobs: hears of them over the socket, and looks who runs whenever it does."""

    def __init__(self, home: Home, client: Client, ids: dict[str, Job]) -> None:
        """Know one's own jobs, by id."""
        self.home, self.client, self.ids = home, client, ids
        self.slots: dict[str, int] = {}
        self.most: Counter[str] = Counter()
        self.batches: list[Event] = []
        self._stirred = threading.Condition()
        self._news = 0

    def listen(self) -> None:
        """Hear every event from the first on, until all is told."""
        for event in self.client.events(PARENT, after=0):
            self.hear(event)
            with self._stirred:
                self._news += 1
                self._stirred.notify()
            if self.told >= len(self.ids):
                return

    def watch(self, patience: float) -> bool:
        """Look at the process table whenever something happened; whether all was told within so many seconds."""
        known, until = 0, time.monotonic() + patience
        while self.told < len(self.ids) and time.monotonic() < until:
            with self._stirred:
                self._stirred.wait_for(lambda seen=known: self._news > seen, until - time.monotonic())
                known = self._news
            self.most |= Counter(self.ids[task].model for task in tasks_in_process_table(self.home))
        return self.told >= len(self.ids)

    @property
    def told(self) -> int:
        """The ends that batches told of."""
        return sum(batch.data["count"] for batch in self.batches)

    def hear(self, event: Event) -> None:
        """Take an event as it comes."""
        if event.type == "background_tasks_batch":
            self.hear_batch(event)
        elif event.type == "background_task_started":
            task = self.client.call("get", id=event.data["taskId"])
            if task["slot"] is not None:
                self.slots[task["id"]] = task["slot"]

    def hear_batch(self, batch: Event) -> None:
        """Print a notice; at the first one enough was seen of the log."""
        self.batches.append(batch)
        titles = ", ".join(self.ids[task["id"]].title for task in batch.data["tasks"])
        last = "  (all complete)" if batch.data["allComplete"] else ""
        print(
            f"  {batch.at.astimezone():%H:%M:%S.%f}"[:-3], f" {batch.data['message']}{last}\n      {titles}", flush=True
        )
        if len(self.batches) == 1:
            self.client.call("cancel", id=next(id for id, job in self.ids.items() if job.ends == "cancelled"))


def command(home: Home, *words: str) -> str:
    """What the command line says. Raises CalledProcessError."""
    environment = os.environ | {
        "BACKBURNER_HOME": str(home.folder),
        "PYTHONPYCACHEPREFIX": str(home.folder.parent / "compiled"),
    }
    shown = subprocess.run(
        program(*words), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE
    )
    return shown.stdout


@contextmanager
def supervised(home: Home) -> Iterator[None]:
    """A supervisor with the demonstration's limits, for a while."""
    limits = "".join(f"{model} = {limit}\n" for model, limit in LIMITS.items())
    home.config.write_text(f"[model_concurrency]\n{limits}")
    command(home, "up", "--detach")
    try:
        yield
    finally:
        command(home, "down", "--now")


def launch(client: Client, wanted: list[Job]) -> dict[str, Job]:
    """Launch all of them at once; the jobs by id."""
    tasks = [
        {
            "command": job.command,
            "model": job.model,
            "description": job.title,
            "parentSessionId": PARENT,
            "cwd": str(ROOT),
        }
        for job in wanted
    ]
    return dict(zip(client.call("launchMany", tasks=tasks)["ids"], wanted, strict=True))


class Ran(NamedTuple):
    """One job that is over: when it ran, in seconds since the first began, and how it ended."""

    job: Job
    slot: int | None
    begin: float
    end: float
    status: str


def history(parent: Parent, tasks: list[dict[str, Any]]) -> list[Ran]:
    """All jobs, by key and slot."""
    begun = min(datetime.fromisoformat(task["startedAt"]) for task in tasks)

    def since(moment: str) -> float:
        return (datetime.fromisoformat(moment) - begun).total_seconds()

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
    """What ran in which slot, when."""
    whole = max(one.end for one in ran) or 1
    print(f"\n  {'KEY':7} {'SLOT':4} {'JOB':27} {'STATUS':10} {'FROM':>5} {'TO':>6}")
    for one in ran:
        first = round(one.begin / whole * WIDTH)
        bar = " " * first + "█" * max(1, round(one.end / whole * WIDTH) - first)
        slot = "?" if one.slot is None else one.slot
        words = f"{one.job.model:7} {slot:<4} {one.job.title:27} {one.status:10}"
        print(f"  {words} {one.begin:5.2f} {one.end:6.2f} s  {bar}")


def most_at_once(ran: list[Ran], model: str) -> int:
    """How many jobs of a key ran at the same time, by what the database says."""
    mine = [one for one in ran if one.job.model == model]
    return max(sum(other.begin <= one.begin < other.end for other in mine) for one in mine)


def _collide(one: Ran, other: Ran) -> bool:
    same = (one.job.model, one.slot) == (other.job.model, other.slot)
    return same and one.begin < other.end and other.begin < one.end


def promises(parent: Parent, ran: list[Ran], left: list[psutil.Process]) -> Iterator[tuple[bool, str]]:
    """What was promised, and whether it is so."""
    for model, limit in LIMITS.items():
        booked, found = most_at_once(ran, model), parent.most[model]
        words = f"{model}: never more than {limit} at once ({booked} by the database, {found} in the process table)"
        yield max(booked, found) <= limit, words
    seen = [one for one in ran if one.slot is not None]
    looked = f"{len(seen)} of {len(ran)} jobs were seen in their slots, among them all that took {LONG} s"
    yield all(one in seen for one in ran if one.end - one.begin >= LONG), looked
    yield not any(_collide(*pair) for pair in combinations(seen, 2)), "no slot held two jobs at once"
    yield all(0 <= (one.slot or 0) < LIMITS[one.job.model] for one in seen), "every slot was one of its key's"
    ends = Counter(one.status for one in ran)
    counted = ", ".join(f"{number} {status}" for status, number in ends.most_common())
    yield all(one.status == one.job.ends for one in ran), f"every job ended as it had to: {counted}"
    told = Counter(task["id"] for batch in parent.batches for task in batch.data["tasks"])
    once = told == Counter(parent.ids.keys())
    yield once, f"each of the {len(parent.ids)} ends was told exactly once, in {len(parent.batches)} batches"
    complete = [batch.data["allComplete"] for batch in parent.batches]
    yield complete[-1:] == [True] and not any(complete[:-1]), "the last batch, and no other, said that all is complete"
    names = ", ".join(f"{process.pid} {process.name()}" for process in left) or "none"
    yield not left, f"processes of this home left in the process table: {names}"


def demonstrate(home: Home) -> bool:
    """Do it all; whether all promises were kept."""
    print(f"backburner in {home.folder}: {', '.join(f'{model} {limit}' for model, limit in LIMITS.items())}")
    with supervised(home), Client(home) as client:
        parent = Parent(home, client, launch(client, jobs(home)))
        print(f"launched {len(parent.ids)} jobs for {PARENT}; what it is told:", flush=True)
        threading.Thread(target=parent.listen, daemon=True).start()
        if not parent.watch(PATIENCE):
            print(f"after {PATIENCE:g} s only {parent.told} of {len(parent.ids)} ends were told", file=sys.stderr)
            print(command(home, "list"), file=sys.stderr)
            return False
        ran = history(parent, client.call("list", parentSessionId=PARENT)["tasks"])
    print_table(ran)
    print()
    kept = list(promises(parent, ran, list(processes_of(home))))
    for well, words in kept:
        print(f"  {'ok  ' if well else 'FAIL'}  {words}")
    return all(well for well, _ in kept)


def main() -> int:
    """The exit code."""
    project = Path(tempfile.mkdtemp(prefix="bb-demo-")).resolve()
    home = Home(project / ".backburner").prepare()
    try:
        return 0 if demonstrate(home) else 1
    finally:
        shutil.rmtree(project)


if __name__ == "__main__":
    sys.exit(main())
