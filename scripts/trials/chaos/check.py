"""The evidence of scripts/chaos, and the checks of I1 to I7 on it.

The evidence is the database, read by separate statements, and what was reported to launchers and subscribers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from scripts.trials.chaos.load import LIMITS, VERDICT
from tests.helpers import invariants
from tests.helpers.blackbox import Place
from tests.helpers.invariants import ENDED, Start, Violation, event_of
from tests.helpers.journals import journal_lines

Facts = dict[str, Any]

#: The status that a verdict leads to.
STATUS_AFTER = {"cancel": "cancelled", "complete": "completed", "fail": "error"}


@dataclass
class SubscriberRecord:
    """What a subscriber recorded. One that acknowledges receives events at least once, any other exactly once."""

    name: str
    parent: str
    acknowledges: bool
    lines: list[Facts] = field(default_factory=list)

    @property
    def received(self) -> list[Facts]:
        """Return the events in the order in which they arrived."""
        return [line["event"] for line in self.lines if line["what"] == "received"]

    @property
    def subscriptions(self) -> list[list[int]]:
        """Return the numbers of the events of each subscription."""
        groups = groupby(self.lines, lambda line: line["what"] == "received")
        return [[line["event"]["seq"] for line in lines] for is_received, lines in groups if is_received]


@dataclass
class Evidence:
    """Everything that was recorded during a run, and the database at its end."""

    launches: list[Facts]
    external: list[Facts]
    jobs: list[Facts]
    subscribers: list[SubscriberRecord]
    tasks: dict[str, Facts]
    events: list[Facts]
    unbatched: int
    integrity: str
    largest_batch: int

    @classmethod
    def read(cls, place: Place, subscribers: list[SubscriberRecord], largest_batch: int) -> Evidence:
        """Read the journals and the database."""
        folder = place.project
        for one in subscribers:
            one.lines = journal_lines(folder / f"subscriber-{one.name}.journal")
        return cls(
            [line for path in sorted(folder.glob("launch-*.journal")) for line in journal_lines(path)],
            journal_lines(folder / "external.journal"),
            journal_lines(folder / "jobs.journal"),
            subscribers,
            {row["id"]: dict(row) for row in place.rows("SELECT * FROM tasks")},
            [event_of(row) for row in place.rows("SELECT seq, type, parent, body FROM events ORDER BY seq")],
            place.rows("SELECT count(*) FROM outbox")[0][0],
            place.rows("PRAGMA integrity_check")[0][0],
            largest_batch,
        )

    def ids(self, what: str, *acts: str) -> list[str]:
        """Return the tasks of the launchers' lines of this kind (about these acts, if any are given)."""
        return [line["id"] for line in self.launches if line["what"] == what and (not acts or line["act"] in acts)]

    def retries(self) -> tuple[Counter[str], Counter[str]]:
        """Return how often each task was retried by hand at least and at most: a response may have been lost."""
        requested, refused = Counter(self.ids("requesting", "retry")), Counter(self.ids("refused", "retry"))
        return Counter(self.ids("done", "retry")), requested - refused


def check(evidence: Evidence) -> list[Violation]:
    """Return everything that must not have happened."""
    parts = (check_store, check_retries, check_starts, check_results, check_verdicts, check_subscribers, check_batches)
    return [violation for part in parts for violation in part(evidence)]


def check_store(evidence: Evidence) -> Iterator[Violation]:
    """I1 to I4, I6: accepted tasks exist, their lives are legal and over, and the limits held by the event log."""
    if evidence.integrity != "ok":
        yield Violation("I1", f"the database is damaged: {evidence.integrity}")
    yield from invariants.check_accepted(evidence.ids("launched"), evidence.tasks)
    _, retried = evidence.retries()
    yield from invariants.check_lives(evidence.events, evidence.tasks, retried.keys())
    yield from invariants.check_limits(evidence.events, evidence.tasks, LIMITS)
    yield from invariants.check_settled(evidence.tasks)


def check_retries(evidence: Evidence) -> Iterator[Violation]:
    """I3: a task has one end, and one more for each retry by hand."""
    least, most = evidence.retries()
    ends = Counter(event["taskId"] for event in evidence.events if event["type"] == ENDED)
    for id in evidence.tasks:
        if not 1 + least[id] <= ends[id] <= 1 + most[id]:
            yield Violation("I3", f"{id} has {ends[id]} ends, and {least[id]} to {most[id]} retries by hand")


def check_starts(evidence: Evidence) -> Iterator[Violation]:
    """I2: a claim and an attempt are started once, a claim is of one task, and no attempt exceeds the retries."""
    starts = [line for line in evidence.jobs if line["what"] == "start"]
    yield from invariants.check_starts(Start(line["id"], line["claim"], line["attempt"]) for line in starts)
    for line in starts:
        task = evidence.tasks.get(line["id"])
        if task is None or line["attempt"] > task["max_attempts"]:
            yield Violation("I2", f"{line['id']} ran as attempt {line['attempt']}, which it does not have")
    owners: dict[int, set[str]] = defaultdict(set)
    for line in evidence.jobs:
        owners[line["claim"]].add(line["id"])
    yield from (Violation("I2", f"claim {claim} was of {ids}") for claim, ids in owners.items() if len(ids) > 1)


def check_results(evidence: Evidence) -> Iterator[Violation]:
    """I2: a task that completed without a verdict has the result of the claim under which its job ran to its end."""
    ended = {(line["id"], line["claim"]) for line in evidence.jobs if line["what"] == "end"}
    for id, task in evidence.tasks.items():
        if task["status"] != "completed" or task["result"] == VERDICT:
            continue
        if (id, task["claim"]) not in ended or str(task["claim"]) != (task["result"] or "").strip():
            text = f"{id} is completed with {task['result']!r} under claim {task['claim']}"
            yield Violation("I2", f"{text}: it did not run to its end")


def check_verdicts(evidence: Evidence) -> Iterator[Violation]:
    """I2: the first verdict wins: an acknowledged verdict is the outcome of its task."""
    _, retried = evidence.retries()
    for line in [*evidence.launches, *evidence.external]:
        if line["what"] == "done" and line["act"] in STATUS_AFTER and line["id"] not in retried:
            status = evidence.tasks[line["id"]]["status"]
            if status != STATUS_AFTER[line["act"]]:
                yield Violation("I2", f"{line['act']} {line['id']} was acknowledged, and it ended as {status}")


def check_subscribers(evidence: Evidence) -> Iterator[Violation]:
    """I7: each subscriber received its parent's events, in order, exactly or at least once."""
    for one in evidence.subscribers:
        logged = {event["seq"]: event for event in evidence.events if one.parent in ("*", event["parentSessionId"])}
        seqs = [event["seq"] for event in one.received]
        for part in one.subscriptions if one.acknowledges else [seqs]:
            yield from _of_subscriber(one, invariants.check_order(part))
        yield from _of_subscriber(one, invariants.check_delivery(seqs, logged))
        yield from _of_subscriber(one, invariants.check_contents(one.received, logged))


def _of_subscriber(one: SubscriberRecord, violations: Iterator[Violation]) -> Iterator[Violation]:
    yield from (Violation(found.invariant, f"subscriber {one.name}: {found.text}") for found in violations)


def check_batches(evidence: Evidence) -> Iterator[Violation]:
    """I7: each end of a parent's task is in exactly one batch, and no batch is too large."""
    yield from invariants.check_batches(evidence.events, evidence.largest_batch)
    if evidence.unbatched:
        yield Violation("I7", f"{evidence.unbatched} ends are in no batch")
