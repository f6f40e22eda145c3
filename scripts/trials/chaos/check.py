"""The books of scripts/chaos, and what must be true of them: I1 to I8 of the design, judged from outside.

Nothing of backburner is asked but its database file, read with statements of our own, and what it said to launchers
and subscribers while it lived.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.trials.chaos.load import LIMITS
from scripts.trials.outside import Place, Seen, lines_of

STARTED, ENDED, AGAIN = "background_task_started", "background_task_completed", "background_task_retrying"
BATCH_STORED, BATCH_TOLD = "background_tasks_notification", "background_tasks_batch"

MOVES = {
    ("pending", STARTED): "running",
    ("pending", ENDED): "ended",
    ("running", ENDED): "ended",
    ("running", AGAIN): "pending",
}

Facts = dict[str, Any]


@dataclass
class Violation:
    """One invariant, broken once."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass
class Ear:
    """A subscriber: whose events it hears, whether it remembers (exactly once) or acknowledges (at least once)."""

    name: str
    parent: str
    acks: bool
    lines: list[Facts] = field(default_factory=list)

    @property
    def heard(self) -> list[Facts]:
        """The events, in the order in which they came."""
        return [line["event"] for line in self.lines if line["what"] == "heard"]


@dataclass
class Books:
    """All that was written down while it lasted, and the database as it is left."""

    launches: list[Facts]
    outside: list[Facts]
    jobs: list[Facts]
    ears: list[Ear]
    tasks: dict[str, Facts]
    events: list[Facts]
    unbatched: int
    sound: str
    most_in_batch: int

    @classmethod
    def of(cls, place: Place, ears: list[Ear], most_in_batch: int) -> Books:
        """Read everything."""
        folder = place.project
        for ear in ears:
            ear.lines = list(lines_of(folder / f"ear-{ear.name}.journal"))
        launches = [line for path in sorted(folder.glob("launch-*.journal")) for line in lines_of(path)]
        with closing(database(place.home)) as connection:
            return cls(
                launches,
                list(lines_of(folder / "outside.journal")),
                list(lines_of(folder / "jobs.journal")),
                ears,
                {row["id"]: dict(row) for row in connection.execute("SELECT * FROM tasks")},
                [_event(row) for row in connection.execute(_EVENTS)],
                connection.execute("SELECT count(*) FROM outbox").fetchone()[0],
                connection.execute("PRAGMA integrity_check").fetchone()[0],
                most_in_batch,
            )


_EVENTS = "SELECT seq, type, parent, body FROM events ORDER BY seq"


def _event(row: sqlite3.Row) -> Facts:
    return {"seq": row["seq"], "type": row["type"], "parentSessionId": row["parent"], **json.loads(row["body"])}


def database(home: Path) -> sqlite3.Connection:
    """Read the home's database; never write."""
    connection = sqlite3.connect(f"file:{home}/backburner.db?mode=ro", uri=True, timeout=5, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def check(books: Books) -> list[Violation]:
    """Everything that the books say must not have been."""
    parts = (accepted, moved, told_once_each, settled, run_once, ended_by_verdict, heard, batches, numbers)
    return [violation for part in parts for violation in part(books)]


def accepted(books: Books) -> Iterator[Violation]:
    """I1: what was acknowledged is there."""
    for line in books.launches:
        if line["what"] == "launched" and line["id"] not in books.tasks:
            yield Violation("I1", f"{line['id']} was acknowledged and is gone")
    if books.sound != "ok":
        yield Violation("I1", f"the database is damaged: {books.sound}")


def by_task(books: Books) -> dict[str, list[Facts]]:
    """The events of each task, in order."""
    found: dict[str, list[Facts]] = defaultdict(list)
    for event in books.events:
        if "taskId" in event:
            found[event["taskId"]].append(event)
    return found


def moved(books: Books) -> Iterator[Violation]:
    """I2: the moves that the log tells of are legal, and a try is counted up each time it is really made."""
    for id, events in by_task(books).items():
        state = "pending"
        for event in events:
            if state == "ended" and event["type"] in (STARTED, ENDED):  # retried by hand
                state = "pending"
            after = MOVES.get((state, event["type"]))
            if after is None and event["type"] in (STARTED, ENDED, AGAIN):
                yield Violation("I2", f"{id} went from {state} by {event['type']} (seq {event['seq']})")
            state = after or state


def told_once_each(books: Books) -> Iterator[Violation]:
    """I2, I3: a task ended once, and once more for each time that it was retried by hand."""
    asked = Counter(line["id"] for line in books.launches if line["what"] == "asking" and line["act"] == "retry")
    sure = Counter(line["id"] for line in books.launches if line["what"] == "done" and line["act"] == "retry")
    histories = by_task(books)
    for id in books.tasks:
        ends = sum(event["type"] == ENDED for event in histories[id])
        if not 1 + sure[id] <= ends <= 1 + asked[id]:
            yield Violation(
                "I3", f"{id} was told to have ended {ends} times, retried by hand {sure[id]} to {asked[id]} times"
            )


def settled(books: Books) -> Iterator[Violation]:
    """I3, I6: everything has run out, and each row says what its last event said."""
    histories = by_task(books)
    for id, task in books.tasks.items():
        if task["status"] not in ("completed", "error", "cancelled"):
            yield Violation("I6", f"{id} is still {task['status']}")
        elif not histories[id] or histories[id][-1].get("status") != task["status"]:
            yield Violation("I3", f"{id} is {task['status']}, its last event is {histories[id][-1:]}")


def run_once(books: Books) -> Iterator[Violation]:
    """I2: a claim and an attempt are run once; what ended well was run to its end under the claim that counts."""
    starts = [line for line in books.jobs if line["what"] == "start"]
    for name, key in (("claim", lambda line: line["claim"]), ("attempt", lambda line: (line["id"], line["attempt"]))):
        for value, count in Counter(map(key, starts)).items():
            if count > 1:
                yield Violation("I2", f"the {name} {value} was run {count} times")
    for line in starts:
        task = books.tasks.get(line["id"])
        if task is None or line["attempt"] > task["max_attempts"]:
            yield Violation("I2", f"{line['id']} ran as attempt {line['attempt']}, which was not given")
    yield from run_to_its_end(books)


def run_to_its_end(books: Books) -> Iterator[Violation]:
    """A result that its job told is the claim under which it ended."""
    ended = {(line["id"], line["claim"]) for line in books.jobs if line["what"] == "end"}
    for id, task in books.tasks.items():
        if task["status"] != "completed" or task["result"] == "said so":
            continue
        if (id, task["claim"]) not in ended or str(task["claim"]) != (task["result"] or "").strip():
            yield Violation(
                "I2", f"{id} is completed with {task['result']!r}, claim {task['claim']}: it did not run to its end"
            )


def ended_by_verdict(books: Books) -> Iterator[Violation]:
    """I2: the first verdict wins: one that was acknowledged is what the task ended with."""
    means = {"cancel": "cancelled", "complete": "completed", "fail": "error"}
    retried = {line["id"] for line in books.launches if line.get("act") == "retry" and line["what"] != "not"}
    for line in [*books.launches, *books.outside]:
        if line["what"] == "done" and line["act"] in means and line["id"] not in retried:
            status = books.tasks[line["id"]]["status"]
            if status != means[line["act"]]:
                yield Violation("I2", f"{line['act']} {line['id']} was acknowledged, and it ended as {status}")


def heard(books: Books) -> Iterator[Violation]:
    """I7: who remembers hears each event exactly once, who acknowledges at least once; all in order."""
    for ear in books.ears:
        owed = [event for event in books.events if ear.parent in ("*", event["parentSessionId"])]
        yield from heard_in_order(ear)
        yield from heard_as_told(ear, {event["seq"]: event for event in owed})


def heard_in_order(ear: Ear) -> Iterator[Violation]:
    """Within one subscription numbers only rise; over all of them too, for who remembers."""
    last = 0
    for line in ear.lines:
        if line["what"] == "subscribed":
            last = 0 if ear.acks else last
            continue
        seq = line["event"]["seq"]
        if seq <= last:
            yield Violation("I7", f"the ear {ear.name} heard {seq} after {last}: repeated or out of order")
        last = seq


def heard_as_told(ear: Ear, owed: dict[int, Facts]) -> Iterator[Violation]:
    """Nothing is missing, nothing made up, and the same number says the same."""
    got = {event["seq"]: event for event in ear.heard}
    for seq in sorted(owed.keys() - got.keys())[:5]:
        yield Violation("I7", f"the ear {ear.name} never heard {seq} ({owed[seq]['type']})")
    for seq in sorted(got.keys() - owed.keys())[:5]:
        yield Violation("I7", f"the ear {ear.name} heard {seq}, which the log does not have")
    for seq in got.keys() & owed.keys():
        kind = BATCH_TOLD if owed[seq]["type"] == BATCH_STORED else owed[seq]["type"]
        if got[seq]["type"] != kind or got[seq].get("taskId") != owed[seq].get("taskId"):
            yield Violation("I7", f"the ear {ear.name} heard another event as {seq} than the log has")


def batches(books: Books) -> Iterator[Violation]:
    """I7: each end of a parent's task is in exactly one batch, and no batch is too large."""
    ends = Counter(one["taskId"] for one in books.events if one["type"] == ENDED and one["parentSessionId"])
    told: Counter[str] = Counter()
    for event in books.events:
        if event["type"] == BATCH_STORED:
            told.update(event["taskIds"])
            yield from whole_batch(event, books.most_in_batch)
    for id in ends.keys() | told.keys():
        if ends[id] != told[id]:
            yield Violation("I7", f"{id} ended {ends[id]} times and is in {told[id]} batches")
    if books.unbatched:
        yield Violation("I7", f"{books.unbatched} ends were never told in a batch")


def whole_batch(event: Facts, most: int) -> Iterator[Violation]:
    """A batch counts right, and is no larger than it may be."""
    if len(event["taskIds"]) > most or len(event["taskIds"]) != event["count"]:
        yield Violation("I7", f"the batch {event['seq']} tells of {len(event['taskIds'])} tasks")


def numbers(books: Books) -> Iterator[Violation]:
    """A job's claim belongs to one task."""
    owners: dict[int, set[str]] = defaultdict(set)
    for line in books.jobs:
        owners[line["claim"]].add(line["id"])
    for claim, ids in owners.items():
        if len(ids) > 1:
            yield Violation("I2", f"the claim {claim} was given to {ids}")


class Sampler:
    """Looks at the process table and the database side by side, again and again, while everything happens."""

    #: Seconds that a task may have a dead owner while nobody disturbed those who would see it: how long it really
    #: takes depends on the machine and is printed; one that is forgotten stays for ever.
    RESCUE = 10.0

    #: Seconds for which the supervisor and the fork server must have been the same before that counts.
    SETTLED = 3.0

    def __init__(self, place: Place, disturbed: Any) -> None:
        """`disturbed()` says whether somebody of importance was killed or stopped just now."""
        self._place = place
        self._disturbed = disturbed
        self._orphaned: dict[int, float] = {}
        self._last: float | None = None
        self._leaders: set[tuple[int, int]] = set()
        self._since = 0.0
        self.longest = 0.0
        self.samples = 0
        self.most: Counter[str] = Counter()
        self.found: dict[str, Violation] = {}

    def look(self, now: float) -> None:
        """One sample: the process table, the database, the process table."""
        before = {one.who: one for one in self._place.processes()}
        jobs = open_jobs(self._place.project / "jobs.journal")
        with closing(database(self._place.home)) as connection:
            tasks = {row["id"]: dict(row) for row in connection.execute(_ROWS)}
            owners = {
                row["number"]: (row["pid"], row["ticks"]) for row in connection.execute("SELECT * FROM processes")
            }
        after = {one.who: one for one in self._place.processes()}
        both = {who: one for who, one in after.items() if who in before}
        leaders = {who for who, one in both.items() if one.name in ("bb-supervisor", "bb-forkserver")}
        if leaders != self._leaders or len(leaders) < 2:
            self._leaders, self._since = leaders, now
        self._limits_in_processes(both, jobs)
        self._limits_in_rows(tasks)
        self._strays(both, tasks)
        self._owners(tasks, owners, {who: one.state for who, one in both.items()}, now)
        self.samples += 1

    def _add(self, key: str, invariant: str, what: str) -> None:
        self.found.setdefault(key, Violation(invariant, what))

    def _limits_in_processes(self, both: dict[tuple[int, int], Seen], jobs: list[Facts]) -> None:
        """I4: whoever is in both scans, and in the journal between them, lived all the time between."""
        for group, claims in self._running(both, jobs).items():
            self.most[group] = max(self.most[group], len(claims))
            if LIMITS[group] and len(claims) > LIMITS[group]:
                what = f"{len(claims)} claims of {group} had processes at once, the limit is {LIMITS[group]}"
                self._add(f"process {group}", "I4", f"{what}: {sorted(claims)}")

    def _running(self, both: dict[tuple[int, int], Seen], jobs: list[Facts]) -> dict[str, set[str]]:
        """The claims of each group that had processes: their own, or a runner that says so."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in both.values():
            if "SIEGE_GROUP" in one.marks and "SIEGE_SPARED" not in one.marks:
                found[one.marks["SIEGE_GROUP"]].add(one.marks["BACKBURNER_CLAIM"])
        runners = {who for who, one in both.items() if one.name == "bb-runner"}
        still = {(line["pid"], line["claim"]) for line in open_jobs(self._place.project / "jobs.journal")}
        for line in jobs:
            if (line["pid"], line["ticks"]) in runners and (line["pid"], line["claim"]) in still:
                found[line["group"]].add(str(line["claim"]))
        return found

    def _limits_in_rows(self, tasks: dict[str, Facts]) -> None:
        """I4: and so says the database."""
        running = Counter(task["limit_group"] for task in tasks.values() if task["status"] == "running")
        for group, count in running.items():
            if LIMITS.get(group) and count > LIMITS[group]:
                self._add(f"row {group}", "I4", f"{count} rows of {group} are running, the limit is {LIMITS[group]}")

    def _strays(self, both: dict[tuple[int, int], Seen], tasks: dict[str, Facts]) -> None:
        """I5: a process of a claim that was over before it was looked at."""
        for one in both.values():
            marks = one.marks
            task = tasks.get(marks.get("BACKBURNER_TASK_ID", ""))
            if task is None or "SIEGE_GROUP" not in marks or "SIEGE_SPARED" in marks or task["claim"] is None:
                continue
            claim = int(marks["BACKBURNER_CLAIM"])
            over = claim < task["claim"] or (claim == task["claim"] and task["status"] != "running")
            if over:
                self._add(
                    f"stray {claim}", "I5", f"{one.pid} ({one.name}) of {task['id']} lives, its claim {claim} is over"
                )

    def _owners(self, tasks: dict[str, Facts], owners: dict[int, Any], living: dict[Any, str], now: float) -> None:
        """I6: nobody runs for long whose owner is dead, unless those who would bury it were disturbed."""
        calm = self._last is not None and not self._disturbed() and now - self._since > self.SETTLED
        passed = min(now - (self._last or now), 0.5) if calm else 0.0
        self._last = now
        dead = {
            task["claim"]: task["id"]
            for task in tasks.values()
            if task["status"] == "running" and task["owner"] is not None and owners.get(task["owner"]) not in living
        }
        self._orphaned = {claim: self._orphaned.get(claim, 0.0) + passed for claim in dead}
        self.longest = max([self.longest, *self._orphaned.values()])
        for claim, seconds in self._orphaned.items():
            if seconds > self.RESCUE:
                self._add(f"owner {claim}", "I6", f"{dead[claim]} (claim {claim}) runs on with a dead owner")


_ROWS = "SELECT id, status, claim, limit_group, owner, slot FROM tasks"


class _Tail:
    """The jobs that have started and not ended, read on from where one was."""

    def __init__(self) -> None:
        self.offset = 0
        self.open: dict[int, Facts] = {}


_tails: dict[Path, _Tail] = defaultdict(_Tail)


def open_jobs(path: Path) -> list[Facts]:
    """The jobs in a journal that have started and not ended."""
    tail = _tails[path]
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(tail.offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    tail.offset += len(whole)
    for text in whole.splitlines():
        line = json.loads(text)
        if line["what"] == "start":
            tail.open[line["claim"]] = line
        else:
            tail.open.pop(line["claim"], None)
    return list(tail.open.values())
