"""What must be true after the kill trial, given the trial's journal, the database and what the subscriber received."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from scripts.trials.kill_load import GRACE_S, LIMITS
from scripts.trials.trial_home import SESSION, Delivered, Line, TrialHome, read_lines
from tests.helpers import invariants
from tests.helpers.invariants import ENDED, RETRYING, STARTED, Start, event_of, repeated
from tests.helpers.journals import Tail
from tests.helpers.processes import Process

#: The share of all tasks that may end as `lost`.
MAX_LOST_SHARE = 0.02

#: What may become of a task without a verdict that does not fail by itself, when its processes are killed.
_KILLED = {"lost", "signal"}

_STATUS_AFTER = {"cancel": "cancelled", "complete": "completed", "fail": "error"}

#: A time before any line of the journal.
_NEVER = float("-inf")


@dataclass
class Evidence:
    """Everything that the trial knows when all is quiet."""

    lines: list[Line]
    tasks: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]
    delivered: list[Delivered] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    remaining: list[Process] = field(default_factory=list)

    @classmethod
    def read(cls, home: TrialHome) -> Evidence:
        """Read the journal and the database, which no process of the program uses any more."""
        tasks = {row["id"]: dict(row) for row in home.rows("SELECT * FROM tasks")}
        query = "SELECT seq, type, parent, body FROM events WHERE parent = ? ORDER BY seq"
        events = [event_of(row) for row in home.rows(query, SESSION)]
        return cls(read_lines(Tail(home.journal)), tasks, events)

    def noted(self, *words: str) -> list[Line]:
        """Return the journal's lines that begin with one of these words."""
        return [line for line in self.lines if line.word in words]

    def touched(self) -> set[str]:
        """Return the tasks that a verdict from outside was asked for."""
        return {line.id for line in self.noted("asking") if line.words[1] in _STATUS_AFTER}


def check_accepted(evidence: Evidence) -> Iterator[object]:
    """The tasks in the database are those that were accepted, and all of them have ended."""
    accepted = {line.id for line in evidence.noted("launched")}
    yield from invariants.check_accepted(accepted, evidence.tasks)
    yield from invariants.check_settled(evidence.tasks)
    for id in evidence.tasks.keys() - accepted:
        yield f"{id} is in the database and was never accepted"


def check_starts(evidence: Evidence) -> Iterator[str]:
    """A task starts once, and once more for each retry that it was granted."""
    retries = {line.id: int(line.words[1]) for line in evidence.noted("launched")}
    for id, count in Counter(line.id for line in evidence.noted("start")).items():
        if count > 1 + retries.get(id, 0):
            yield f"{id} started {count} times, with {retries.get(id, 0)} retries granted: {lines_of(evidence, id)}"


def check_claims(evidence: Evidence) -> Iterator[object]:
    """A claim starts once, and so does an attempt."""
    yield from invariants.check_starts(Start(line.id, line.claim, line.attempt) for line in evidence.noted("start"))


def lines_of(evidence: Evidence, id: str) -> list[str]:
    """Return the journal's lines about a task, as text."""
    return [f"{line.word} {line.at:.3f} {' '.join(line.words)}" for line in evidence.lines if id in line.words]


def check_lives(evidence: Evidence) -> Iterator[object]:
    """Each task has a legal life with exactly one end in the event log, with the status that it has in the database."""
    yield from invariants.check_lives(evidence.events, evidence.tasks)


def check_batches(evidence: Evidence) -> Iterator[object]:
    """Each end is in exactly one batch."""
    yield from invariants.check_batches(evidence.events)


def check_delivery(evidence: Evidence) -> Iterator[object]:
    """The subscriber received every event of the log exactly once, in the order of the sequence numbers."""
    received = [one.seq for one in evidence.delivered]
    yield from invariants.check_order(received)
    yield from invariants.check_delivery(received, {event["seq"] for event in evidence.events})
    ends = [one.task for one in evidence.delivered if one.type == ENDED]
    yield from (f"the end of {id} was delivered more than once" for id in repeated(ends))


def check_attempts(evidence: Evidence) -> Iterator[str]:
    """A task has a started event for each attempt, and for each interruption before it really began."""
    started = Counter(event["taskId"] for event in evidence.events if event["type"] == STARTED)
    retrying = Counter(event["taskId"] for event in evidence.events if event["type"] == RETRYING)
    began = Counter(line.id for line in evidence.noted("start"))
    for id, task in evidence.tasks.items():
        if started[id] != task["attempt"] + task["interruptions"]:
            yield (
                f"{id} has {started[id]} started events, {task['attempt']} attempts"
                f" and {task['interruptions']} interruptions"
            )
        if not retrying[id] <= started[id] <= retrying[id] + 1:
            yield f"{id} has {started[id]} started and {retrying[id]} retrying events"
        if began[id] > task["attempt"]:
            yield f"{id} began {began[id]} times in {task['attempt']} attempts: {lines_of(evidence, id)}"


def _text_of(task: dict[str, Any]) -> str:
    """Return a task's result; that of a call is JSON."""
    return str(task["result"]).strip('"')


def check_outcomes(evidence: Evidence) -> Iterator[str]:
    """Without a verdict from outside, the outcome follows from what the task noted and from the kills."""
    last_lines = {(line.id, line.claim): line.word for line in evidence.lines if line.is_end}
    failures = {line.id: int(line.words[2]) for line in evidence.noted("launched")}
    for id in evidence.tasks.keys() - evidence.touched():
        task = evidence.tasks[id]
        last = last_lines.get((id, task["claim"]))
        if task["status"] == "completed" and (last != "end" or _text_of(task) != f"{id} {task['claim']}"):
            yield f"{id} is completed with {task['result']!r}, its last line is {last}: {lines_of(evidence, id)}"
        elif task["status"] == "cancelled":
            yield f"{id} is cancelled, which was never asked for"
        elif task["status"] == "error" and last != "error" and task["error_kind"] not in _KILLED:
            yield f"{id} ended with {task['error_kind']} ({task['error']}), its last line is {last}"
        elif task["status"] == "error" and not failures.get(id) and not evidence.kills:
            yield f"{id} ended with {task['error_kind']} ({task['error']}), and no process was killed"


def check_outputs(evidence: Evidence) -> Iterator[str]:
    """A task's output is its own."""
    touched = evidence.touched()
    for id, output in evidence.outputs.items():
        task = evidence.tasks[id]
        if any(not line.startswith(f"{id} ") for line in output.splitlines()):
            yield f"{id} has the output {output!r}"
        elif task["status"] == "completed" and id not in touched and output != f"{id} {task['claim']}\n":
            yield f"{id} ran under claim {task['claim']} and has the output {output!r}"


def check_texts(evidence: Evidence) -> Iterator[str]:
    """A task's result and error name no other task."""
    for id, task in evidence.tasks.items():
        for text in (task["result"], task["error"]):
            if text and "bg-" in text and id not in text:
                yield f"{id} has the text of another task: {text!r}"


def check_verdicts(evidence: Evidence) -> Iterator[str]:
    """An acknowledged verdict is the outcome, and the task does not start afterwards.

    `cancel` returns when the task has ended. `complete` and `fail` return when the verdict is stored; if the worker
    is just starting the task, its process may write one first line after that.
    """
    latest_start: dict[str, float] = {}
    for line in evidence.lines:
        if line.word in _STATUS_AFTER:
            latest_start[line.id] = _NEVER if line.word == "cancel" else line.at + GRACE_S
            status = evidence.tasks.get(line.id, {}).get("status")
            if status != _STATUS_AFTER[line.word]:
                yield f"{line.word} of {line.id} was acknowledged, and the task is {status}"
        elif line.is_start and line.id in latest_start:
            if line.at > latest_start[line.id]:
                yield f"{line.id} started after its verdict: {lines_of(evidence, line.id)}"
            latest_start[line.id] = _NEVER


@dataclass
class _Lifetime:
    """The lines between which the processes of a claim are known to have been alive."""

    key: str
    first: int
    last: int = -1

    def extend(self, index: int) -> None:
        """Note that they were alive at that line, too."""
        self.last = max(self.last, index)


def check_limits(evidence: Evidence) -> Iterator[str]:
    """Whenever a task starts, no more claims of its key are alive than its limit allows.

    The order of the journal's lines decides, not their times. After a limit was lowered, the surplus may run
    until it ends: only starts are looked at.
    """
    lifetimes = _lifetimes(evidence.lines)
    starting: dict[int, list[int]] = defaultdict(list)
    for claim, lifetime in lifetimes.items():
        starting[lifetime.first].append(claim)
    allowed, alive = dict(LIMITS), defaultdict(set)  # type: dict[str, int], dict[str, set[int]]
    for index, line in enumerate(evidence.lines):
        if line.word == "limit":
            allowed[line.words[0]] = int(line.words[1])
        for claim in starting[index]:
            key = lifetimes[claim].key
            alive[key] = {one for one in alive[key] if lifetimes[one].last > index} | {claim}
            if len(alive[key]) > allowed[key]:
                yield f"the claims {alive[key]} of {key} were alive at once, the limit was {allowed[key]}"


def _lifetimes(lines: list[Line]) -> dict[int, _Lifetime]:
    found: dict[int, _Lifetime] = {}
    scan = 0
    for index, line in enumerate(lines):
        if line.word == "scan":
            scan = index
        elif line.is_start or line.is_end:
            found.setdefault(line.claim, _Lifetime(line.key, index)).extend(index)
        elif line.word == "alive":  # written after the scan: those processes were alive when it began, or started since
            for claim, key in map(_claim_and_key, line.words):
                found.setdefault(claim, _Lifetime(key, index)).extend(scan)
    return found


def _claim_and_key(text: str) -> tuple[int, str]:
    claim, _, key = text.partition(":")
    return int(claim), key


def check_pauses(evidence: Evidence) -> Iterator[str]:
    """No task of a paused key starts."""
    paused: set[str] = set()
    for line in evidence.lines:
        if line.word == "paused":
            paused.add(line.words[0])
        elif line.word == "resuming":
            paused.discard(line.words[0])
        elif line.is_start and line.key in paused:
            yield f"{line.id} started while {line.key} was paused: {lines_of(evidence, line.id)}"


def lost_tasks(evidence: Evidence) -> tuple[set[str], set[str]]:
    """Return the tasks that ended as `lost`, and those of them that had finished by their own last line."""
    lost = {id: task["claim"] for id, task in evidence.tasks.items() if task["error_kind"] == "lost"}
    last = {(line.id, line.claim) for line in evidence.lines if line.is_end}
    return set(lost), {id for id, claim in lost.items() if (id, claim) in last}


def check_lost(evidence: Evidence) -> Iterator[str]:
    """A killed worker loses at most the task that it was running."""
    lost, _ = lost_tasks(evidence)
    if len(lost) > MAX_LOST_SHARE * len(evidence.tasks):
        yield f"{len(lost)} of {len(evidence.tasks)} tasks are lost, more than {MAX_LOST_SHARE:.0%}: {sorted(lost)[:5]}"
    if len(lost) > evidence.kills["worker"] + evidence.kills["runner"]:
        yield f"{len(lost)} tasks are lost by {dict(evidence.kills)} kills: {sorted(lost)[:5]}"


def check_remains(evidence: Evidence) -> Iterator[str]:
    """No process is left behind."""
    for process in evidence.remaining:
        yield f"process {process.pid} ({process.name}) is left: {process.marks}"


#: Every check, in the order in which violations are printed.
CHECKS = (
    check_accepted,
    check_starts,
    check_claims,
    check_lives,
    check_batches,
    check_delivery,
    check_attempts,
    check_outcomes,
    check_outputs,
    check_texts,
    check_verdicts,
    check_limits,
    check_pauses,
    check_lost,
    check_remains,
)


def violations(evidence: Evidence) -> Iterator[str]:
    """Yield a description of everything that must not have happened."""
    for check in CHECKS:
        for found in check(evidence):
            yield f"{check.__name__.removeprefix('check_')}: {found}"
