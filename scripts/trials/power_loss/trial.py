"""Simulates power losses: drops what was not synced, starts backburner on what is left, and does it again.

    scripts/power-loss [--cuts N] [--seconds N] [--seed S]
    scripts/power-loss --bug unsynced|no-jump      with an injected bug, which must be found (exit 0 if it is)

A supervisor with durability = "full" and its launchers, subscriber and tasks run under strace. It records, in one order
for all processes, every call that changes a file, with its bytes, and every fsync; nothing can bypass it, as it could
bypass a preloaded library. The same processes write down what was acknowledged and delivered, so that these reports
stand in the same order. At some points of the record (cuts) the files are reconstructed as POSIX promises them,
strictly: content only as far as it was synced, names only as far as their folder was (disk.py). At every second cut,
chance decides instead for each unsafe write and name whether it is there, as on real disks.

The files of each cut are checked: the database is sound; every launch that was acknowledged before the cut is there;
every end and batch that was delivered is there, with the same number; every long output of a completed task is whole.
From the cut where most was forgotten (starts and claims need not be synced) a second run is recorded, with the boot id
of another boot, and cut in the same ways; from one of those cuts a third run continues to its end. Over all three no
number means two events, no claim is given twice, no task that a cut left running or held is started again, and after
each loss the counters have jumped beyond every number that it may have forgotten.

It does not simulate disks that lie about syncs, sectors torn within one write, or the loss of the state directory's own
folder, which counts as old. In the snapshot only the place of the boot id is patched, because a simulated loss does not
boot the machine. Needs strace (Linux); the exit code is 77 without it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from scripts.trials.power_loss.disk import CALLS, Disk, Step, steps
from scripts.trials.power_loss.load import INPUT, INPUT_FILE, LONG_OUTPUT
from tests.helpers import invariants
from tests.helpers.blackbox import ROOT, Place
from tests.helpers.invariants import BATCH_SENT, ENDED, event_of
from tests.helpers.journals import journal_lines
from tests.helpers.wait import WaitTimeout, eventually

#: The path that every snapshot replaces by its own file.
BOOT_ID = ("ipc/machine/identity.py", "/proc/sys/kernel/random/boot_id")

#: Bugs that are injected to show that they are found: the file, the fragment that it has once, and its replacement.
BUGS = {
    "unsynced": ("ipc/store/sqlite/file/group_commit.py", "if synced >= last:", "if last:"),
    "no-jump": (
        "ipc/store/sqlite/file/database.py",
        "                    skip_counters_ahead(self._transaction)\n",
        "                    pass\n",
    ),
}

#: How far the counters of events and claims jump at the first write of a boot.
JUMP = 2**32

#: Seconds for a recorded load to end after its time, and for the last run to end all its tasks.
LOAD_TIMEOUT, DRAIN_TIMEOUT = 120.0, 60.0

STRACE = ["strace", "-f", "-y", "-xx", "-s", "4000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none"]

Facts = dict[str, Any]


class Reports:
    """What was reported to launchers and subscribers up to some point of the record."""

    def __init__(self) -> None:
        self.launched: set[str] = set()
        self.ended: set[str] = set()
        self.received: dict[int, Facts] = {}
        self.claims: dict[int, str] = {}
        #: Tasks without retries that were running, or held by a worker, in what an earlier loss left.
        self.begun: set[str] = set()
        #: The last event and the last claim in what each earlier loss left.
        self.losses: list[tuple[int, int]] = []
        self.problems: list[str] = []

    def take(self, line: Facts) -> None:
        """Read one line. A number or a claim that meant something else before is a problem."""
        getattr(self, f"_take_{line['what']}")(line)

    def _take_launched(self, line: Facts) -> None:
        self.launched.add(line["id"])

    def _take_ended(self, line: Facts) -> None:
        self.ended.add(line["id"])

    def _take_received(self, line: Facts) -> None:
        event = line["event"]
        self._check_jump("seq", event["seq"], [seq for seq, _ in self.losses])
        if self.received.setdefault(event["seq"], event) != event:
            self.problems.append(f"seq {event['seq']} was given twice: {self.received[event['seq']]} and {event}")

    def _take_ran(self, line: Facts) -> None:
        claim, id, run = line["claim"], line["id"], line["run"]
        self._check_jump("claim", claim, [claim for _, claim in self.losses])
        if claim in self.claims:
            self.problems.append(f"claim {claim} was given in {self.claims[claim]} and in {run}")
        self.claims[claim] = run
        if id in self.begun:
            self.problems.append(f"{id} may have begun before a loss, and was started again in {run}")

    def _check_jump(self, name: str, number: int, last_numbers: list[int]) -> None:
        """After a loss, counters jump: numbers that may have been forgotten are not given again."""
        for last in last_numbers:
            if last < number < last + JUMP:
                self.problems.append(
                    f"{name} {number} was given after a loss that left {last}: the counter did not jump"
                )

    def copy(self) -> Reports:
        """Return an independent copy."""
        found = Reports()
        found.problems, found.losses = list(self.problems), list(self.losses)
        found.launched, found.ended = set(self.launched), set(self.ended)
        found.received, found.claims, found.begun = dict(self.received), dict(self.claims), set(self.begun)
        return found

    def __str__(self) -> str:
        received = f"{len(self.received)} events, {len(self.claims)} claims"
        return f"{len(self.launched)} launches, {len(self.ended)} verdicts, {received}"


class Machine:
    """A folder that stands for a machine: its state directory, its reports and its boot id."""

    def __init__(self, name: str, bug: str = "") -> None:
        """Prepare it with a snapshot that reads the boot id from its own file."""
        self.place = Place.create(name)
        self.place.snapshot()
        (self.place.project / INPUT_FILE).write_text(INPUT)
        if bug:
            self.place.patch(*BUGS[bug])
        self.place.patch(*BOOT_ID, str(self.place.project / "boot_id"))
        self.reports = self.place.project / "reports"
        self.record = self.place.project / "record"
        self.boot()

    def boot(self) -> None:
        """Begin another boot."""
        (self.place.project / "boot_id").write_text(str(uuid.uuid4()))

    def run(self, name: str, seconds: float) -> Disk:
        """Record a run under load until all processes are killed at once, and return the disk as it was before."""
        self.place.home.mkdir(0o700, exist_ok=True)
        before = Disk(self.place.home)
        words = [sys.executable, "-P", "-m", "scripts.trials.power_loss.load", str(self.place.project), name]
        path = {"PYTHONPATH": f"{self.place.tree}:{ROOT}"}
        with (self.place.project / "load.log").open("ab") as log:
            tracer = self.place.start([*STRACE, "-qq", "-o", str(self.record), *words, str(seconds)], log, **path)
            over = self.place.project / f"over-{name}"
            eventually(over.exists, seconds + LOAD_TIMEOUT, "the load to end")
            self.place.kill_all()
            tracer.wait(30)
        return before

    def lose(self, files: dict[str, bytes]) -> None:
        """Leave only these files, by their paths in the state directory, and boot."""
        self.place.kill_all()
        shutil.rmtree(self.place.home, ignore_errors=True)
        self.place.home.mkdir(0o700)
        for name, content in files.items():
            path = self.place.home / name
            path.parent.mkdir(0o700, exist_ok=True, parents=True)
            path.write_bytes(content)
            path.chmod(0o600)
        self.boot()


class Cut:
    """A point of the record: the files that are left, and what had been reported by then."""

    def __init__(self, at: int, files: dict[str, bytes], reports: Reports, torn: bool) -> None:
        self.at, self.files, self.reports, self.torn = at, files, reports, torn
        #: The number of events and claims that were seen and are not in these files.
        self.forgotten = 0
        #: Tasks that are running or held in these files: each may have begun.
        self.begun: set[str] = set()
        #: The last event and the last claim in these files.
        self.last_numbers = (0, 0)


def cuts(machine: Machine, disk: Disk, reports: Reports, options: argparse.Namespace) -> Iterator[Cut]:
    """Replay the record, and stop at random writes and syncs after its first tenth."""
    chance = random.Random(f"cuts {options.seed}")
    replayed = list(steps(machine.record))
    writes = [number for number, step in enumerate(replayed) if disk.is_ours(step.place)]
    chosen = sorted(chance.sample(writes[len(writes) // 10 :], min(options.cuts, len(writes) // 2)))
    reports = reports.copy()
    position = 0
    for place, number in enumerate(chosen):
        for step in replayed[position : number + 1]:
            disk.take(step)
            take_reports(step, machine, reports)
        position = number + 1
        torn = place % 2 == 1
        left = disk.left(random.Random(f"{options.seed} {number}") if torn else None)
        yield Cut(number, left, reports.copy(), torn)


def take_reports(step: Step, machine: Machine, reports: Reports) -> None:
    """Read the lines that a call wrote to the reports."""
    if step.name == "write" and step.place == str(machine.reports):
        for line in step.strings[0].splitlines():
            reports.take(json.loads(line))


def check(cut: Cut, machine: Machine) -> list[str]:
    """Return what is wrong with the files that a loss left."""
    machine.lose(cut.files)
    path = machine.place.home / "backburner.db"
    if not path.exists() or not path.stat().st_size:
        return ["the database is gone"] if cut.reports.launched else []
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if integrity != "ok":
            return [f"the database is damaged: {integrity}"]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchone():
            return ["the tables are gone"] if cut.reports.launched else []
        tasks = {row["id"]: dict(row) for row in connection.execute(_TASKS)}
        events = {row["seq"]: event_of(row) for row in connection.execute("SELECT * FROM events")}
    assess(cut, tasks, events)
    home = machine.place.home
    parts = (
        check_reported(cut.reports, tasks, events),
        check_outputs(cut.reports, tasks, home),
        check_inputs(tasks, home),
    )
    return [str(problem) for part in parts for problem in part]


_TASKS = "SELECT t.*, i.stdin_file FROM tasks t JOIN inputs i ON i.task = t.number"


def assess(cut: Cut, tasks: dict[str, Facts], events: dict[int, Facts]) -> None:
    """Count what is forgotten, and note the last numbers and the tasks that may have begun."""
    last_claim = max((number or 0 for task in tasks.values() for number in (task["claim"], task["held"])), default=0)
    cut.last_numbers = (max(events, default=0), last_claim)
    active = (id for id, task in tasks.items() if task["status"] == "running" or task["held"] is not None)
    cut.begun = {id for id in active if tasks[id]["max_attempts"] == 1 and tasks[id]["agent"] != "external"}
    cut.forgotten = sum(seq not in events for seq in cut.reports.received)
    cut.forgotten += sum(claim > last_claim for claim in cut.reports.claims)


def check_reported(reports: Reports, tasks: dict[str, Facts], events: dict[int, Facts]) -> Iterator[object]:
    """Everything that was acknowledged or delivered and must be synced is there."""
    yield from invariants.check_accepted(reports.launched, tasks)
    for id in reports.ended & tasks.keys():
        if tasks[id]["status"] != "completed":
            yield f"the acknowledged end of {id} is gone: {tasks[id]['status']}"
    synced = {seq: event for seq, event in reports.received.items() if event["type"] in (ENDED, BATCH_SENT)}
    for seq in synced.keys() - events.keys():
        yield f"the delivered event {seq} ({synced[seq]['type']}) is gone"
    yield from invariants.check_contents(synced.values(), events)
    for seq, event in synced.items():
        if event["type"] == ENDED:
            yield from check_end(seq, event, tasks.get(event["taskId"]))


def check_end(seq: int, event: Facts, task: Facts | None) -> Iterator[str]:
    """A delivered end is the end of its task, with the same result."""
    if task is None or task["status"] != event["status"] or (task["brief"] or task["result"]) != event["result"]:
        yield f"the delivered end {seq} of {event['taskId']} is gone: {task and task['status']}"


def check_outputs(reports: Reports, tasks: dict[str, Facts], home: Path) -> Iterator[str]:
    """A result that is longer than what the database keeps is whole in its file."""
    completed = {
        event["taskId"]
        for event in reports.received.values()
        if event.get("status") == "completed" and "taskId" in event
    }
    for id in completed & tasks.keys():
        task = tasks[id]
        path = home / "output" / f"{task['claim']}.stdout"
        if task["result_truncated"] and (not path.exists() or path.stat().st_size < LONG_OUTPUT):
            yield f"the output of {id} is not whole: {path.stat().st_size if path.exists() else 'no file'}"


def check_inputs(tasks: dict[str, Facts], home: Path) -> Iterator[str]:
    """The file from which a pending task is to read is there."""
    for id, task in tasks.items():
        if task["stdin_file"] is not None and task["status"] == "pending":
            path = home / "input" / task["stdin_file"]
            if not path.exists() or path.read_text() != INPUT:
                yield f"the stdin of {id} is lost: {path.read_text() if path.exists() else 'no file'}"


def finish(machine: Machine, reports: Reports) -> list[str]:
    """Run once more without a record until everything has ended, and return all problems with the numbers."""
    place = machine.place
    up = place.run("up", "--detach")
    if up.returncode:
        return [f"up failed: {up.stderr}"]
    try:
        eventually(lambda: not _has_pending(place), DRAIN_TIMEOUT, "the pending tasks to end")
    except WaitTimeout as error:
        reports.problems.append(str(error))
    events = place.run("listen", "--parent", "*", "--after", "0", "--until-now").stdout.splitlines()
    place.run("down", "--now")
    for line in events:
        reports.take({"what": "received", "event": json.loads(line)})
    for found in journal_lines(machine.reports):
        if found["what"] == "ran" and found["claim"] not in reports.claims:
            reports.take(found)
    return reports.problems


def _has_pending(place: Place) -> bool:
    pending = json.loads(place.run("list", "--json", "--status", "pending").stdout)
    return any(task["agent"] != "external" for task in pending)


def check_cuts(machine: Machine, disk: Disk, reports: Reports, options: argparse.Namespace) -> tuple[list[str], Cut]:
    """Check every cut of a record; return the problems, and the strict cut where most was forgotten."""
    problems: list[str] = []
    worst: Cut | None = None
    scratch = Machine("loss-check")
    repeated: list[str] = []
    for cut in cuts(machine, disk, reports, options):
        problems += [f"cut {cut.at}{' (torn)' if cut.torn else ''}: {one}" for one in check(cut, scratch)]
        repeated, cut.reports.problems = cut.reports.problems, []
        if not cut.torn and (worst is None or cut.forgotten >= worst.forgotten):
            worst = cut
    scratch.place.remove()
    assert worst is not None, "the first cut is a strict one"
    return [*problems, *repeated], worst


def main() -> int:
    """Lose the power twice, and run to the end."""
    options = parse()
    if shutil.which("strace") is None:
        print("power-loss: needs strace", file=sys.stderr)
        return 77
    began = time.monotonic()
    machine, reports, problems = Machine("loss", options.bug), Reports(), list[str]()
    print(f"seed {options.seed}", flush=True)
    for name in ("first", "second"):
        disk = machine.run(name, options.seconds)
        found, cut = check_cuts(machine, disk, reports, options)
        problems += found
        print(f"{name} loss: {options.cuts} cuts, {disk.syncs} syncs recorded", flush=True)
        print(
            f"  continuing at {cut.at}: {cut.reports}; forgotten: {cut.forgotten}; begun: {len(cut.begun)}", flush=True
        )
        reports = cut.reports
        reports.begun |= cut.begun
        reports.losses.append(cut.last_numbers)
        machine.lose(cut.files)
        machine.reports.write_bytes(b"")
    problems += finish(machine, reports)
    for problem in problems[-20:]:
        print(f"  {problem}")
    print(f"{len(problems)} problems; at the end {reports}; {time.monotonic() - began:.0f} s")
    passed = bool(problems) == bool(options.bug)
    if passed and not options.keep:
        machine.place.remove()
    else:
        print(f"kept: {machine.place.project}")
    return 0 if passed else 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="power-loss", description="Drop what was not synced, and start again; twice.")
    parser.add_argument("--cuts", type=int, default=40, help="points of each record at which the power is lost (40)")
    parser.add_argument("--seconds", type=float, default=4, help="how long each recorded load lasts (4)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(random, printed)")
    parser.add_argument("--bug", choices=tuple(BUGS), default="", help="inject a bug, which must be found")
    parser.add_argument("--keep", action="store_true", help="keep the last state directory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
