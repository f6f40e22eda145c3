"""Power loss, simulated on files: what was not synced is dropped, and backburner starts on what is left; twice.

    scripts/power-loss [--cuts N] [--seconds N] [--seed S]

How, and how honest it is. A supervisor with durability = "full" and its launchers, subscriber and tasks run under
strace, which records every call that changes a file, its bytes, and every fsync, of all processes, in one order;
nothing of ours can bypass it, as it could a preloaded library. The books of what was acknowledged and told are written
by the same processes, so they stand in that same order. At a point of the record (a cut) the files are made anew as
POSIX promises them, strictly: content only as far as it was synced, names only as far as their folder was
(power_trace.py). At every second cut, instead, chance decides for each write and name that was not safe whether it is
there, which is what disks really do.

Each cut's files are then looked at: is the database sound, is every launch there that was acknowledged before the cut,
is every end and batch there that was told before it, with the same number, and is every long output whole whose task
was told to have ended well. On the cut where most was forgotten of what somebody had seen (starts and claims need not
be synced) a second run is recorded, with the boot id of another boot, and cut again in the same ways; on one of those
cuts a third run goes to its end. Over all three no number means two events, no claim was given twice, and no task that
a cut left running, or held by a worker, is started again: it may have begun.

What it does not show: a disk that lies about its syncs, sectors torn within one write, and the folder of the home
itself, which counts as old. The tree is a copy in which only the place of the boot id differs: a simulated loss does
not boot the machine. Needs strace (Linux); exit 77 without it.

    scripts/power-loss --plant unsynced|no-jump      with a bug planted in the copy: it must be found (exit 0 if it is)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from scripts.trials.outside import Place, nap, wait_for
from scripts.trials.power_loss.disk import CALLS, Disk, Step, steps
from scripts.trials.power_loss.load import LONG_OUTPUT

BOOT_ID = "/proc/sys/kernel/random/boot_id"

#: Bugs that are planted to show that they are found: file, what stands there, what stands there instead.
PLANTS = {
    "unsynced": ("ipc/store/sqlite/group_commit.py", "if synced >= wanted:", "if wanted:"),
    "no-jump": (
        "ipc/store/sqlite/database.py",
        "                    jump(self._transaction)\n",
        "                    pass\n",
    ),
}

Facts = dict[str, Any]


class Told:
    """What somebody outside knows, up to some point of the record."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.launched: set[str] = set()
        self.ended: set[str] = set()
        self.heard: dict[int, Facts] = {}
        self.claims: dict[int, str] = {}
        #: Tasks without retries that were running, or held by a worker, in what an earlier loss left.
        self.begun: set[str] = set()
        self.problems: list[str] = []

    def take(self, line: Facts) -> None:
        """Read one line of the books. A number or a claim that meant something else before is a problem."""
        {"launched": self._launched, "ended": self._ended, "heard": self._heard, "ran": self._ran}[line["what"]](line)

    def _launched(self, line: Facts) -> None:
        self.launched.add(line["id"])

    def _ended(self, line: Facts) -> None:
        self.ended.add(line["id"])

    def _heard(self, line: Facts) -> None:
        event = line["event"]
        if self.heard.setdefault(event["seq"], event) != event:
            self.problems.append(f"seq {event['seq']} was given twice: {self.heard[event['seq']]} and {event}")

    def _ran(self, line: Facts) -> None:
        if line["claim"] in self.claims:
            self.problems.append(
                f"the claim {line['claim']} was given in {self.claims[line['claim']]} and in {line['run']}"
            )
        self.claims[line["claim"]] = line["run"]
        if line["id"] in self.begun:
            self.problems.append(f"{line['id']} may have begun before a loss, and was started again in {line['run']}")

    def copy(self) -> Told:
        """As it is now."""
        found = Told()
        found.launched, found.ended = set(self.launched), set(self.ended)
        found.heard, found.claims, found.begun = dict(self.heard), dict(self.claims), set(self.begun)
        return found

    def __str__(self) -> str:
        told = f"{len(self.heard)} events, {len(self.claims)} claims"
        return f"{len(self.launched)} launches, {len(self.ended)} verdicts, {told}"


class Machine:
    """A folder that is the machine: its home, its books, its boot."""

    def __init__(self, name: str, plant: str = "") -> None:
        """Make it, with a tree that reads the boot id from a file of its own."""
        self.place = Place(name)
        self.place.snapshot()
        (self.place.project / "given.txt").write_text("given by file\n")
        if plant:
            self.place.patch(*PLANTS[plant])
        self.place.patch("ipc/machine/boot.py", BOOT_ID, str(self.place.project / "boot_id"))
        self.boot()

    def boot(self) -> None:
        """It is another boot from now on."""
        (self.place.project / "boot_id").write_text(str(uuid.uuid4()))

    @property
    def record(self) -> Path:
        """Where strace writes."""
        return self.place.project / "record"

    def run(self, name: str, seconds: float) -> Disk:
        """Record a run under load, until everybody is killed at once; the disk as it was before."""
        self.place.home.mkdir(0o700, exist_ok=True)
        before = Disk(self.place.home)
        load = self.place.module("power_loss.load", str(self.place.project), name, str(seconds))
        strace = [
            "strace",
            "-f",
            "-y",
            "-xx",
            "-s",
            "4000000",
            "--seccomp-bpf",
            "-e",
            f"trace={CALLS}",
            "-e",
            "signal=none",
        ]
        command = [*strace, "-qq", "-o", str(self.record), *load]
        with (self.place.project / "load.log").open("ab") as log:
            tracer = subprocess.Popen(
                command, env=self.place.module_environment, cwd=self.place.project, stdout=log, stderr=log
            )
            wait_for("the load to end", seconds + 120, (self.place.project / f"over-{name}").exists)
            self.place.kill_all()
            tracer.wait(30)
        return before

    def lose(self, files: dict[str, bytes], other: Machine | None = None) -> None:
        """Have only these files left in the home (of another machine: moved here), and boot."""
        self.place.kill_all()
        shutil.rmtree(self.place.home, ignore_errors=True)
        self.place.home.mkdir(0o700)
        source = (other or self).place.home
        for name, content in files.items():
            path = self.place.home / Path(name).relative_to(source)
            path.parent.mkdir(0o700, exist_ok=True, parents=True)
            path.write_bytes(content)
            path.chmod(0o600)
        self.boot()


class Cut:
    """A point of the record: what is left of the files, and what had been told by then."""

    def __init__(self, at: int, files: dict[str, bytes], told: Told, torn: bool) -> None:
        """Keep both."""
        self.at, self.files, self.told, self.torn = at, files, told, torn
        self.forgotten = 0
        #: Tasks that are running or held in these files: each may have begun.
        self.begun: set[str] = set()


def cuts(machine: Machine, disk: Disk, told: Told, how: argparse.Namespace) -> Iterator[Cut]:
    """Play the record, and stop at so many points of it, spread over its second half of writes and syncs."""
    chance = random.Random(f"cuts {how.seed}")
    played = list(steps(machine.record))
    books = str(machine.place.project / "books")
    writes = [number for number, step in enumerate(played) if disk._ours(step.place)]
    chosen = sorted(chance.sample(writes[len(writes) // 10 :], min(how.cuts, len(writes) // 2)))
    told = told.copy()
    position = 0
    for place, number in enumerate(chosen):
        for step in played[position : number + 1]:
            disk.take(step)
            note(step, books, told)
        position = number + 1
        torn = place % 2 == 1
        yield Cut(number, disk.left(random.Random(f"{how.seed} {number}") if torn else None), told.copy(), torn)


def note(step: Step, books: str, told: Told) -> None:
    """Take down what a write to the books says."""
    if step.name == "write" and step.place == books:
        for line in step.strings[0].splitlines():
            told.take(json.loads(line))


def look(cut: Cut, machine: Machine) -> list[str]:
    """What is wrong with what a loss left."""
    machine.lose(cut.files)
    path = machine.place.home / "backburner.db"
    if not path.exists() or not path.stat().st_size:
        return ["the database is gone"] if cut.told.launched else []
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if sound != "ok":
            return [f"the database is damaged: {sound}"]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchone():
            return ["the tables are gone"] if cut.told.launched else []
        tasks = {row["id"]: dict(row) for row in connection.execute(_TASKS)}
        events = {row["seq"]: dict(row) for row in connection.execute("SELECT * FROM events")}
        claims = connection.execute("SELECT coalesce(max(claim), 0) FROM tasks").fetchone()[0]
    held = (id for id, task in tasks.items() if task["status"] == "running" or task["held"] is not None)
    cut.begun = {id for id in held if tasks[id]["max_attempts"] == 1 and tasks[id]["agent"] != "external"}
    cut.forgotten = sum(seq not in events for seq in cut.told.heard) + sum(claim > claims for claim in cut.told.claims)
    return [
        *missing(cut.told, tasks, events),
        *outputs(cut.told, tasks, machine.place.home),
        *inputs(tasks, machine.place.home),
    ]


_TASKS = "SELECT t.*, i.stdin_file FROM tasks t JOIN inputs i ON i.task = t.number"


def missing(told: Told, tasks: dict[str, Facts], events: dict[int, Facts]) -> Iterator[str]:
    """What was acknowledged or told and is not there."""
    for id in told.launched - tasks.keys():
        yield f"the acknowledged launch {id} is gone"
    for id in told.ended & tasks.keys():
        if tasks[id]["status"] != "completed":
            yield f"the acknowledged end of {id} is gone: {tasks[id]['status']}"
    for seq, event in told.heard.items():
        if event["type"] == "background_task_completed":
            yield from _told_end(seq, event, tasks, events)
    batches = (seq for seq, event in told.heard.items() if event["type"] == "background_tasks_batch")
    yield from (f"the told batch {seq} is gone" for seq in batches if seq not in events)


def _told_end(seq: int, event: Facts, tasks: dict[str, Facts], events: dict[int, Facts]) -> Iterator[str]:
    task = tasks.get(event["taskId"])
    if task is None or task["status"] != event["status"] or (task["brief"] or task["result"]) != event["result"]:
        yield f"the told end {seq} of {event['taskId']} is gone: {task and task['status']}"
    if seq not in events or json.loads(events[seq]["body"])["taskId"] != event["taskId"]:
        yield f"the told event {seq} is gone"


def outputs(told: Told, tasks: dict[str, Facts], home: Path) -> Iterator[str]:
    """A result longer than what the database keeps is whole in its file."""
    done = {
        event["taskId"] for event in told.heard.values() if event.get("status") == "completed" and "taskId" in event
    }
    for id in done & tasks.keys():
        task = tasks[id]
        path = home / "output" / f"{task['claim']}.stdout"
        if task["result_truncated"] and (not path.exists() or path.stat().st_size < LONG_OUTPUT):
            yield f"the output of {id} is not whole: {path.stat().st_size if path.exists() else 'no file'}"


def inputs(tasks: dict[str, Facts], home: Path) -> Iterator[str]:
    """What a task that waits is to read is there."""
    for id, task in tasks.items():
        if task["stdin_file"] is not None and task["status"] == "pending":
            path = home / "input" / task["stdin_file"]
            if not path.exists() or path.read_text() != "given by file\n":
                yield f"the stdin of {id} is lost: {path.read_text() if path.exists() else 'no file'}"


def finish(machine: Machine, told: Told) -> list[str]:
    """A last run without a record: everything ends, and nothing that was told is told otherwise."""
    place = machine.place
    up = place.run("up", "--detach")
    if up.returncode:
        return [f"it does not come up: {up.stderr}"]
    until = time.monotonic() + 40
    while time.monotonic() < until and any(one["agent"] != "external" for one in _pending(place)):
        nap(0.2)
    heard = place.run("listen", "--parent", "*", "--after", "0", "--until-now").stdout.splitlines()
    place.run("down", "--now")
    for line in heard:
        told.take({"what": "heard", "event": json.loads(line)})
    for written in (place.project / "books").read_bytes().splitlines():
        found = json.loads(written)
        if found["what"] == "ran" and found["claim"] not in told.claims:
            told.take(found)
    return told.problems


def _pending(place: Place) -> list[Facts]:
    found: list[Facts] = json.loads(place.run("list", "--json", "--status", "pending").stdout)
    return found


def lose_often(machine: Machine, disk: Disk, told: Told, how: argparse.Namespace) -> tuple[list[str], Cut | None]:
    """Every cut of a record; what is wrong, and the strict one where most was forgotten."""
    problems: list[str] = []
    worst: Cut | None = None
    scratch = Machine("loss-look")
    for cut in cuts(machine, disk, told, how):
        files = {
            str(scratch.place.home / Path(name).relative_to(machine.place.home)): data
            for name, data in cut.files.items()
        }
        here = Cut(cut.at, files, cut.told, cut.torn)
        found = look(here, scratch)
        cut.forgotten, cut.begun = here.forgotten, here.begun
        problems += [f"cut {cut.at}{' (torn)' if cut.torn else ''}: {one}" for one in [*found, *cut.told.problems]]
        if not cut.torn and (worst is None or cut.forgotten >= worst.forgotten):
            worst = cut
    scratch.place.remove()
    return problems, worst


def main() -> int:
    """Two losses in a row, and a last run."""
    how = options()
    if shutil.which("strace") is None:
        print("power-loss: needs strace", file=sys.stderr)
        return 77
    begun = time.monotonic()
    machine, told, problems = Machine("loss", how.plant), Told(), list[str]()
    print(f"seed {how.seed}", flush=True)
    for name in ("first", "second"):
        disk = machine.run(name, how.seconds)
        found, cut = lose_often(machine, disk, told, how)
        problems += found
        assert cut is not None, "there was a cut"
        print(f"{name} loss: {how.cuts} cuts, {disk.syncs} syncs seen", flush=True)
        print(f"  going on from {cut.at}: {cut.told}; forgotten: {cut.forgotten}; begun: {len(cut.begun)}", flush=True)
        told = cut.told
        told.begun |= cut.begun
        machine.lose(cut.files)
        (machine.place.project / "books").write_bytes(b"")
    problems += finish(machine, told)
    for problem in problems[-20:]:
        print(f"  {problem}")
    print(f"{len(problems)} problems; at the end {told}; {time.monotonic() - begun:.0f} s")
    well = bool(problems) == bool(how.plant)
    if well and not how.keep:
        machine.place.remove()
    else:
        print(f"kept: {machine.place.project}")
    return 0 if well else 1


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description="Drop what was not synced, and start again; twice.")
    parser.add_argument("--cuts", type=int, default=40, help="points of each record at which the power goes")
    parser.add_argument("--seconds", type=float, default=4, help="how long each recorded load lasts")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--plant", choices=tuple(PLANTS), default="")
    parser.add_argument("--keep", action="store_true", help="keep the last home")
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
