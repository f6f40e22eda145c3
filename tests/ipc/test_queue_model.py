"""The queue, used by two processes on one store, behaves like a simple model of it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.helpers.queue_process import QueueProcess

SETTINGS = {
    "default_concurrency": 2,
    "model_concurrency": {"one": 1, "pool/*": 3, "wide": 0},
    "max_tasks_per_parent": 6,
    "max_queue_wait_s": 50,
}
WAIT = 50_000
CAP = 6
KEYS = ("one", "plain", "pool/a", "pool/b", "wide")
GROUPS = ("one", "plain", "pool/*", "pool/a", "wide")
PARENTS = ("ses-1", "ses-2", None)
NAMES = ("x", "y")
UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"
BEGINNING = 1_700_000_000_000
ENDED = ("completed", "error", "cancelled")
#: What a publication does with the tasks that have not ended. Either all are returned, or the first becomes the current
#: one, and the others are returned or stay held.
RESTS = ("back", "runs", "held")


@dataclass
class ModelTask:
    """The expected state of one task."""

    id: str
    number: int
    key: str
    group: str
    parent: str | None
    agent: str
    priority: int
    retries: int
    unique: str | None
    timeout: int | None
    not_before: int | None
    expires: int
    due: int | None
    status: str = "pending"
    ready: bool = True
    attempt: int = 0
    max_attempts: int = 1
    interruptions: int = 0
    claim: int | None = None
    slot: int | None = None
    held: int | None = None  # the claim under which a worker holds it
    owner: int | None = None
    taker: int = 0  # the process that took it: 0 or 1
    requested: bool = False
    verdict: tuple[str, str | None, str | None] | None = None
    result: str | None = None
    error: str | None = None
    kind: str | None = None
    blockers: dict[str, list[Any]] = field(default_factory=dict)  # by ID: any_end, finished, succeeded

    @property
    def unfinished(self) -> bool:
        return self.status in ("pending", "running")

    @property
    def open(self) -> bool:
        return any(not finished for _, finished, _ in self.blockers.values())

    @property
    def bad(self) -> bool:
        return any(finished and not (succeeded or any_end) for any_end, finished, succeeded in self.blockers.values())


class ModelStore:
    """The expected contents of the store: tasks, limits and events."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.tasks: dict[str, ModelTask] = {}
        self.live: dict[str, int] = {}
        self.paused: set[str] = set()
        self.events: list[tuple[Any, ...]] = []
        self.outbox: list[tuple[str, str, str]] = []  # parent, id, how it ended
        self.claims: set[int] = set()
        self.numbers = itertools.count(1)
        self.single = False

    # limits

    @property
    def named(self) -> dict[str, int]:
        return {**SETTINGS["model_concurrency"], "opus": 2, "sonnet": 3, "haiku": 5, **self.live}  # type: ignore[dict-item]

    def group(self, key: str) -> str:
        patterns = sorted((name for name in self.named if "*" in name), key=len, reverse=True)
        return key if key in self.named else next((one for one in patterns if fnmatchcase(key, one)), key)

    def limit(self, group: str) -> int:
        return self.named.get(group, 2)

    def running(self, group: str) -> list[ModelTask]:
        return [task for task in self.tasks.values() if task.status == "running" and task.group == group]

    # launching

    def launch(self, documents: list[dict[str, Any]]) -> list[tuple[str | None, bool]] | str:
        """Return the IDs of existing tasks and None for new ones, or the name of an error, which changes nothing."""
        unfinished = Counter(task.parent for task in self.tasks.values() if task.unfinished)
        held = {task.unique: task.id for task in self.tasks.values() if task.unfinished and task.unique}
        found: list[tuple[str | None, bool]] = []
        for wanted in documents:
            name, parent = wanted.get("uniqueKey"), wanted.get("parentSessionId")
            if name in held:
                found.append((held[name], True))
                continue
            if parent is not None and unfinished[parent] >= CAP:
                return "OverCap!"
            if UNKNOWN in wanted.get("after", []):
                return "NotFound!"
            failed = any(self.tasks[id].status in ("error", "cancelled") for id in wanted.get("after", []))
            if not failed:
                unfinished[parent] += 1
                held |= {name: None} if name else {}  # type: ignore[dict-item]
            found.append((None, False))
        return found

    def accept(self, id: str, wanted: dict[str, Any]) -> None:
        delay = wanted.get("delayMs") or None
        not_before = self.now + delay if delay else None
        expires = (not_before or self.now) + WAIT
        key = wanted["concurrencyKey"]
        task = ModelTask(
            id=id,
            number=next(self.numbers),
            key=key,
            group=self.group(key),
            parent=wanted.get("parentSessionId"),
            agent=wanted.get("agent", "command"),
            priority=wanted["priority"],
            retries=wanted["retries"],
            unique=wanted.get("uniqueKey"),
            timeout=wanted.get("timeoutMs"),
            not_before=not_before,
            expires=expires,
            due=min(not_before or expires, expires),
            max_attempts=wanted["retries"] + 1,
        )
        for blocker, any_end in [
            *((one, False) for one in wanted.get("after", [])),
            *((one, True) for one in wanted.get("afterAny", [])),
        ]:
            status = self.tasks[blocker].status
            if status in ENDED and (status == "completed" or any_end):
                continue
            if blocker not in task.blockers or not any_end:
                task.blockers[blocker] = [any_end, status in ENDED, status == "completed"]
        task.ready = not_before is None and not task.blockers
        self.tasks[id] = task
        if task.bad:
            self.end(task, "error", kind="dependency")

    # moves

    def end(self, task: ModelTask, status: str, *, kind: str | None = None) -> None:
        task.status, task.kind, task.ready, task.due, task.owner = status, kind, False, None, None
        self.events.append(("background_task_completed", task.id, status, kind))
        if task.parent is not None:
            self.outbox.append((task.parent, task.id, status))
        for other in self.tasks.values():
            if task.id in other.blockers:
                other.blockers[task.id][1:] = [True, status == "completed"]

    def claimable(self, group: str, slot: int, external: bool) -> ModelTask | None:
        limit, running = self.limit(group), self.running(group)
        if group in self.paused or any(task.slot == slot for task in running):
            return None
        if limit and (slot >= limit or len(running) >= limit):
            return None
        head = next(iter(self.waiting(group)), None)
        return head if head is not None and (head.agent == "external") == external else None

    def waiting(self, group: str) -> list[ModelTask]:
        """Return the tasks of a group that may be taken, in order."""
        found = (task for task in self.tasks.values() if task.group == group)
        ready = (task for task in found if task.status == "pending" and task.ready and task.held is None)
        return sorted(ready, key=lambda task: (-task.priority, task.number))

    def series(self, group: str, slot: int, count: int) -> list[ModelTask]:
        """Return the tasks that a worker gets if it takes up to `count`."""
        if self.claimable(group, slot, False) is None:
            return []
        waiting = self.waiting(group)
        share = 1 if self.single else count if self.limit(group) == 1 else max(1, min(count, len(waiting) // 2))
        return list(itertools.takewhile(lambda task: task.agent != "external", waiting[:share]))

    def held_by(self, owner: int | None) -> list[ModelTask]:
        held = (task for task in self.tasks.values() if task.held is not None and task.owner == owner)
        return sorted(held, key=lambda task: task.held or 0)

    def give_claim(self, claim: int) -> None:
        assert claim not in self.claims and claim > max(self.claims, default=0), "a claim was given twice"
        self.claims.add(claim)

    def hold(self, task: ModelTask, claim: int, owner: int) -> None:
        self.give_claim(claim)
        task.held, task.owner, task.due = claim, owner, None

    def return_held(self, task: ModelTask) -> str:
        task.held, task.owner, task.requested, task.due = None, None, False, task.expires or None
        return "pending"

    def request(self, group: str | None = None) -> bool:
        """Request the held tasks of a group, or all; return True if there are any."""
        held = [task for task in self.tasks.values() if task.held is not None and group in (None, task.group)]
        for task in held:
            task.requested = True
        return bool(held)

    def shift(self, by: int) -> None:
        for task in self.tasks.values():
            if task.due is not None or (task.status == "pending" and (task.held is not None or not task.ready)):
                task.due = None if task.due is None else task.due + by
                task.not_before = None if task.not_before is None else task.not_before + by
                task.expires += by if task.expires else 0

    def start(self, task: ModelTask, slot: int, claim: int) -> None:
        if task.held is None:
            self.give_claim(claim)
        task.held, task.requested = None, False
        task.status, task.slot, task.claim, task.error, task.kind = "running", slot, claim, None, None
        task.attempt += 1
        task.due = self.now + task.timeout if task.agent == "external" and task.timeout else None
        self.events.append(("background_task_started", task.id, task.attempt))

    def settle(self, task: ModelTask, how: dict[str, Any]) -> str:
        status, text, kind = task.verdict or (how["status"], None, None)
        decided = task.verdict is not None
        attempt = task.attempt
        task.attempt -= max(
            int(how.get("unused", False)), int(decided and status == "pending" and kind == "interrupted")
        )
        task.interruptions += int(how.get("unused", False))
        task.kind = kind if decided else how.get("error_kind")
        if decided:
            task.result = text if status == "completed" else None
        else:
            task.result = how.get("result")
        task.slot, task.verdict, task.owner = None, None, None
        if status == "pending":
            task.status, task.not_before, task.due = "pending", how.get("not_before"), how.get("not_before")
            task.ready = task.not_before is None
            task.expires = 0
            self.events.append(("background_task_retrying", task.id, attempt, task.kind))
        else:
            self.end(task, status, kind=task.kind)
        return status

    def record_verdict(self, task: ModelTask, verdict: tuple[str, str | None, str | None]) -> bool:
        """Record a verdict; return True if it counts."""
        if task.verdict is not None and not (task.verdict[0] == "pending" and verdict[0] != "pending"):
            return False
        task.verdict = verdict
        return True

    def act(self, act: str, task: ModelTask) -> str:
        if act == "retry":
            return self.retry(task)
        if task.held is not None:
            task.requested = True
            return "HeldByWorker!"
        return self.end_by_user(act, task)

    def end_by_user(self, act: str, task: ModelTask) -> str:
        refused = "MoveNotAllowed!"
        if act == "cancel" and task.status == "pending":
            self.end(task, "cancelled", kind=task.kind)
            return "cancelled"
        if task.status != "running":
            return refused
        verdict = {
            "cancel": ("cancelled", None, None),
            "complete": ("completed", "decided", None),
            "fail": ("error", "decided", "failed"),
        }[act]
        if act == "cancel" and task.verdict is not None and task.verdict[0] == "cancelled":
            return "running"
        if not self.record_verdict(task, verdict):
            return refused
        return self.settle(task, {"status": verdict[0]}) if task.agent == "external" else "running"

    def retry(self, task: ModelTask) -> str:
        held = any(other.unfinished and other.unique == task.unique for other in self.tasks.values()) and task.unique
        if task.status not in ("error", "cancelled") or held:
            return "MoveNotAllowed!"
        task.blockers = {id: state for id, state in task.blockers.items() if not state[1]}
        task.status, task.ready, task.group, task.not_before = "pending", not task.blockers, self.group(task.key), None
        task.max_attempts += task.retries + 1
        task.due, task.result, task.error, task.kind, task.interruptions, task.expires = None, None, None, None, 0, 0
        return "pending"

    def promote(self) -> None:
        for task in sorted(
            (one for one in self.tasks.values() if one.due is not None and one.due <= self.now),
            key=lambda one: one.due or 0,
        ):
            if task.status == "running":
                again = task.attempt < task.max_attempts
                self.settle(task, {"status": "pending" if again else "error", "error_kind": "timeout"})
            elif task.expires and task.expires <= self.now:
                self.end(task, "error", kind="expired")
            else:
                task.ready, task.due = not task.blockers, task.expires or None
        for task in [one for one in self.tasks.values() if any(finished for _, finished, _ in one.blockers.values())]:
            self.resolve(task)

    def resolve(self, task: ModelTask) -> None:
        bad = task.bad
        if task.status == "pending" and bad:
            self.end(task, "error", kind="dependency")
        elif task.status == "pending" and not task.open and (task.not_before is None or task.not_before <= self.now):
            task.ready, task.due = True, task.expires or None
        gone = task.status != "pending" or bad
        task.blockers = {} if gone else {id: state for id, state in task.blockers.items() if not state[1]}

    @property
    def due(self) -> int | None:
        if any(finished for task in self.tasks.values() for _, finished, _ in task.blockers.values()):
            return 0
        return min((task.due for task in self.tasks.values() if task.due is not None), default=None)


class Machine(RuleBasedStateMachine):
    """Draws operations, executes each in one of two processes, and compares the contents that the other one reads."""

    processes: tuple[QueueProcess, QueueProcess]

    def __init__(self) -> None:
        super().__init__()
        self.project = Path(tempfile.mkdtemp(prefix="bb-model-", dir="/tmp"))
        self.model = ModelStore()
        self.seq = 0
        self.other = 1
        self.stale: list[tuple[int, int]] = []
        self.owners = itertools.count(100)

    @initialize()
    def open(self) -> None:
        for first, process in zip((True, False), self.processes, strict=True):
            assert process(self.model.now, "open", str(self.project / ".backburner"), SETTINGS, first) is None

    def teardown(self) -> None:
        for process in self.processes:
            process(self.model.now, "close")
        shutil.rmtree(self.project)

    def call(self, process: int, verb: str, *words: Any) -> Any:
        self.other = 1 - process
        self.model.now += 1
        return self.processes[process](self.model.now, verb, *words)

    process = st.integers(0, 1)
    documents = st.lists(
        st.fixed_dictionaries(
            {
                "concurrencyKey": st.sampled_from(KEYS),
                "parentSessionId": st.sampled_from(PARENTS),
                "priority": st.sampled_from((0, 0, 5)),
                "retries": st.sampled_from((0, 0, 1, 2)),
            },
            optional={
                "external": st.sampled_from((0, 500)),
                "delayMs": st.sampled_from((0, 100, 1000)),
                "uniqueKey": st.sampled_from(NAMES),
                "after": st.integers(0, 30),
                "afterAny": st.integers(0, 30),
            },
        ),
        min_size=1,
        max_size=3,
    )

    @rule(process=process, drawn=documents)
    def launch(self, process: int, drawn: list[dict[str, Any]]) -> None:
        self.launch_all(process, drawn)

    def launch_all(self, process: int, drawn: list[dict[str, Any]]) -> None:
        documents = [self.document(one) for one in drawn]
        expected = self.model_at_next(lambda: self.model.launch(documents))
        answer = self.call(process, "launch", documents)
        if isinstance(expected, str):
            assert answer == expected
            return
        assert [existing for _, existing in answer] == [existing for _, existing in expected]
        for (id, existing), (known, _), wanted in zip(answer, expected, documents, strict=True):
            assert known in (None, id)
            if not existing:
                self.model.accept(id, wanted)

    def model_at_next(self, ask: Any) -> Any:
        """Return the answer of the model at the time of the next command."""
        self.model.now += 1
        found = ask()
        self.model.now -= 1
        return found

    def document(self, drawn: dict[str, Any]) -> dict[str, Any]:
        found = {
            name: value
            for name, value in drawn.items()
            if value is not None and name not in ("external", "after", "afterAny")
        }
        if "external" in drawn:
            timeout = {"timeoutMs": drawn["external"]} if drawn["external"] else {}
            found |= {"agent": "external", "prompt": "by hand", **timeout}
        else:
            found |= {"command": ["true"]}
        known = list(self.model.tasks)
        for name in ("after", "afterAny"):
            if name in drawn and known:
                is_unknown = name == "after" and drawn[name] == 30
                found[name] = [UNKNOWN] if is_unknown else [known[-1 - drawn[name] % len(known)]]
        return found

    @rule(process=process, group=st.sampled_from(GROUPS), slot=st.integers(0, 3), external=st.booleans())
    def claim(self, process: int, group: str, slot: int, external: bool) -> None:
        self.claim_in(process, group, slot, external)

    def claim_in(self, process: int, group: str, slot: int, external: bool) -> None:
        expected = self.model.claimable(group, slot, external)
        claimed = self.call(process, "claim", group, slot, None if external else 1)
        self.took(expected, claimed, slot)

    @precondition(lambda self: self.free())
    @rule(process=process, place=st.integers(0, 9))
    def claim_a_ready_task(self, process: int, place: int) -> None:
        found = self.free()
        group, slot, external = found[place % len(found)]
        self.claim_in(process, group, slot, external)

    def free(self) -> list[tuple[str, int, bool]]:
        places = itertools.product(sorted({task.group for task in self.model.tasks.values()}), range(3), (False, True))
        return [place for place in places if self.model.claimable(*place)]

    def took(self, expected: ModelTask | None, claimed: dict[str, Any] | None, slot: int) -> None:
        assert (claimed and claimed["id"]) == (expected and expected.id)
        if expected is not None and claimed is not None:
            assert claimed["number"] == expected.number
            self.model.start(expected, slot, claimed["claim"])
            self.stale.append((expected.number, claimed["claim"]))

    running = precondition(lambda self: any(task.status == "running" for task in self.model.tasks.values()))

    def pick(self, place: int, status: str | None = None) -> ModelTask:
        known = [task for task in self.model.tasks.values() if status in (None, task.status)]
        return known[-1 - place % len(known)]

    @running
    @rule(
        process=process,
        place=st.integers(0, 5),
        how=st.sampled_from(("completed", "failed", "again", "later", "unused")),
        continues=st.booleans(),
    )
    def settle(self, process: int, place: int, how: str, continues: bool) -> None:
        task = self.pick(place, "running")
        if self.model.held_by(task.owner):
            return  # its worker publishes the whole series
        words = self.settlement(task.number, task.claim or 0, how)
        slot = task.slot or 0
        status = self.model_at_next(lambda: self.model.settle(task, words))
        then = [task.group, slot, 2] if continues else None
        expected = self.model.claimable(task.group, slot, False) if continues else None
        answer, claimed = self.call(process, "settle", words, then)
        assert answer == status
        self.took(expected, claimed, slot)

    def settlement(self, number: int, claim: int, how: str) -> dict[str, Any]:
        kinds = {"failed": "exit", "again": "exit", "later": "exit", "unused": "interrupted"}
        status = {"completed": "completed", "failed": "error"}.get(how, "pending")
        found = {
            "number": number,
            "claim": claim,
            "status": status,
            "error_kind": kinds.get(how),
            "unused": how == "unused",
        }
        found |= {"result": "done"} if how == "completed" else {"error": how}
        return found | ({"not_before": self.model.now + 700} if how == "later" else {})

    @rule(process=process, place=st.integers(0, 9), count=st.integers(2, 4), key=st.sampled_from((*KEYS, None)))
    def take(self, process: int, place: int, count: int, key: str | None) -> None:
        if key is not None:
            common = {"parentSessionId": None, "priority": 0, "retries": place % 2}
            self.launch_all(process, [{"concurrencyKey": key, **common}] * (2 * count))
        places = itertools.product(sorted({task.group for task in self.model.tasks.values()}), range(3))
        found = [place for place in places if len(self.model.series(*place, count)) > 1] or [("one", 0)]
        group, slot = found[place % len(found)]
        expected = self.model.series(group, slot, count)
        owner = next(self.owners)
        self.took_series(expected, self.call(process, "take", group, slot, owner, count), process, (slot, owner))

    def took_series(self, expected: list[ModelTask], taken: list[Any], process: int, place: tuple[int, int]) -> None:
        slot, owner = place
        assert [one["id"] for one in taken] == [task.id for task in expected]
        for task, one in zip(expected, taken, strict=True):
            task.taker, first = process, task is expected[0]
            self.stale.append((task.number, one["claim"]))
            if first:
                self.model.start(task, slot, one["claim"])
                task.owner = owner
            else:
                self.model.hold(task, one["claim"], owner)

    holding = precondition(lambda self: any(task.held for task in self.model.tasks.values()))

    def pick_series(self, place: int) -> list[ModelTask]:
        """Return a running task, and those that its worker holds behind it."""
        owners = sorted({task.owner or 0 for task in self.model.tasks.values() if task.held is not None})
        owner = owners[place % len(owners)]
        running = next(one for one in self.model.tasks.values() if one.status == "running" and one.owner == owner)
        return [running, *self.model.held_by(owner)]

    outcomes = st.lists(st.sampled_from(("completed", "completed", "failed", "again", "later")), max_size=4)

    @holding
    @rule(place=st.integers(0, 3), outcomes=outcomes, rest=st.sampled_from(RESTS), count=st.integers(0, 4))
    def publish(self, place: int, outcomes: list[str], rest: str, count: int) -> None:
        series = self.pick_series(place)
        owner, group, slot = series[0].owner or 0, series[0].group, series[0].slot or 0
        ended, left = series[: len(outcomes)], series[len(outcomes) :]
        current, returned = self.split(left, rest)
        what = {
            "ended": [self.settlement_next(one, how) for one, how in zip(ended, outcomes, strict=False)],
            "current": current and (current.held or current.claim),
            "returned": [one.held for one in returned],
            "count": 0 if current else count,
        }
        expected = self.model_at_next(lambda: self.published(what, ended, current, returned))
        taken = self.call(series[0].taker, "publish", [group, slot], owner, what)
        self.took_series(expected, taken, series[0].taker, (slot, owner))

    def split(self, left: list[ModelTask], rest: str) -> tuple[ModelTask | None, list[ModelTask]]:
        """Return the current one of the tasks that have not ended, and those that are returned."""
        if left and (rest != "back" or left[0].status == "running"):
            return left[0], [] if rest == "held" else left[1:]
        return None, left

    def settlement_next(self, task: ModelTask, how: str) -> dict[str, Any]:
        return self.model_at_next(lambda: self.settlement(task.number, task.held or task.claim or 0, how))

    def published(
        self, what: dict[str, Any], ended: list[ModelTask], current: ModelTask | None, returned: list[ModelTask]
    ) -> list[ModelTask]:
        slot, group = (ended or [current])[0].slot or 0, (ended or [current])[0].group  # type: ignore[union-attr]
        for task, how in zip(ended, what["ended"], strict=True):
            if task.held is not None:
                self.model.start(task, slot, task.held)
            self.model.settle(task, how)
        if current is not None and current.held is not None:
            self.model.start(current, slot, current.held)
        for task in returned:
            self.model.return_held(task)
        return self.model.series(group, slot, what["count"]) if what["count"] else []

    @holding
    @rule(process=process, place=st.integers(0, 3), outcomes=outcomes, begun=st.booleans())
    def rescue(self, process: int, place: int, outcomes: list[str], begun: bool) -> None:
        series = self.pick_series(place)
        hows: list[str | None] = [*(outcomes if begun and outcomes else ["unused"]), *[None] * 4]
        attempts = [self.rescued(one, how) for one, how in zip(series, hows, strict=False)]
        expected = self.model_at_next(
            lambda: [self.saved(one, made["how"]) for one, made in zip(series, attempts, strict=True)]
        )
        assert self.call(process, "rescue", attempts) == expected

    def rescued(self, task: ModelTask, how: str | None) -> dict[str, Any]:
        return {
            "number": task.number,
            "claim": task.held or task.claim,
            "group": task.group if task.held is not None else None,
            "how": how and self.settlement_next(task, how),
        }

    def saved(self, task: ModelTask, how: dict[str, Any] | None) -> str:
        if how is None:
            return self.model.return_held(task)
        if task.held is not None:
            self.model.start(task, 0, task.held)
        return self.model.settle(task, how)

    @holding
    @rule(
        process=process,
        place=st.integers(0, 9),
        act=st.sampled_from(("cancel", "complete", "fail", "progress", "retry")),
    )
    def change_a_held_task(self, process: int, place: int, act: str) -> None:
        held = [task for task in self.model.tasks.values() if task.held is not None]
        task = held[place % len(held)]
        task.requested = task.requested or act != "retry"
        answer = (
            self.call(process, "progress", task.id) if act == "progress" else self.call(process, "act", act, task.id)
        )
        assert answer == ("MoveNotAllowed!" if act == "retry" else "HeldByWorker!")

    @precondition(lambda self: self.model.tasks)
    @rule(process=process, places=st.lists(st.integers(0, 9), max_size=3))
    def cancel_all(self, process: int, places: list[int]) -> None:
        tasks = list({(task := self.pick(place)).id: task for place in places}.values())
        expected = self.model_at_next(lambda: [task.id for task in tasks if self.cancelled(task)])
        answer = self.call(process, "cancel_all", [task.id for task in tasks])
        assert answer == ("HeldByWorker!" if any(task.held for task in tasks) else expected)

    def cancelled(self, task: ModelTask) -> bool:
        if task.status == "running" and task.verdict is not None and task.verdict[0] not in ("pending", "cancelled"):
            return False
        return self.model.act("cancel", task) in ("running", "cancelled")

    @holding
    @rule(process=process)
    def cancel_waiting(self, process: int) -> None:
        waiting = [task for task in self.model.tasks.values() if task.status == "pending" and task.held is None]
        for task in waiting:
            self.model.end(task, "cancelled", kind=task.kind)
        assert self.call(process, "cancel_waiting") == len(waiting)

    @rule(process=process, by=st.sampled_from((-700, 700, 60_000)))
    def set_the_clock(self, process: int, by: int) -> None:
        self.model.shift(by)
        self.call(process, "shift", by)

    @rule(process=process)
    def configure(self, process: int) -> None:
        owners = sorted({task.owner for task in self.model.tasks.values() if task.held is not None})
        self.model.single = self.model.request()
        assert self.call(process, "configure") == owners

    @precondition(lambda self: self.stale)
    @rule(
        process=process, place=st.integers(0, 9), way=st.sampled_from(("record_verdict", "settle", "rescue", "return"))
    )
    def an_old_claim_changes_nothing(self, process: int, place: int, way: str) -> None:
        number, claim = self.stale[place % len(self.stale)]
        if any(claim == (task.held or task.claim) and task.unfinished for task in self.model.tasks.values()):
            return
        if way == "record_verdict":
            assert self.call(process, "record_verdict", number, claim, "cancelled", None) is False
        elif way != "settle":
            how = self.settlement(number, claim, "completed") if way == "rescue" else None
            group = next(task.group for task in self.model.tasks.values() if task.number == number)
            attempt = {"number": number, "claim": claim, "group": group, "how": how}
            assert self.call(process, "rescue", [attempt]) == [None]
        else:
            assert self.call(process, "settle", self.settlement(number, claim, "completed"), None) == [None, None]

    @running
    @rule(
        process=process,
        place=st.integers(0, 5),
        verdict=st.sampled_from(("completed", "error", "cancelled", "pending")),
    )
    def record_verdict(self, process: int, place: int, verdict: str) -> None:
        task = self.pick(place, "running")
        if task.agent == "external":
            return
        kind = {"error": "timeout", "pending": "interrupted"}.get(verdict)
        first = self.model.record_verdict(task, (verdict, "decided", kind))
        assert self.call(process, "record_verdict", task.number, task.claim, verdict, kind) is first

    @precondition(lambda self: self.model.tasks)
    @rule(process=process, act=st.sampled_from(("cancel", "complete", "fail", "retry")), place=st.integers(0, 9))
    def act(self, process: int, act: str, place: int) -> None:
        task = self.pick(place)
        expected = self.model_at_next(lambda: self.model.act(act, task))
        assert self.call(process, "act", act, task.id) == expected

    @rule(process=process, passed=st.sampled_from((0, 200, 1500, 60_000)))
    def promote(self, process: int, passed: int) -> None:
        self.model.now += passed
        assert self.call(process, "due") == self.model.due
        self.model_at_next(self.model.promote)
        self.call(process, "promote")

    @rule(
        process=process,
        key=st.sampled_from(GROUPS),
        what=st.sampled_from((None, 0, 1, 2, 4, "pause", "resume", "batch")),
        few=st.booleans(),
    )
    def change_group(self, process: int, key: str, what: int | str | None, few: bool) -> None:
        if what in ("pause", "resume"):
            self.pause(process, key, int(what == "pause"))
        elif what == "batch":
            self.batch(process, PARENTS[GROUPS.index(key) % 2], 1 if few else 3)
        else:
            self.limit(process, key, what)

    @running
    @rule(process=process, place=st.integers(0, 9), fewer=st.integers(0, 1))
    def lower_limit(self, process: int, place: int, fewer: int) -> None:
        """Lower a limit to or below the number of running tasks; then no slot can be claimed."""
        group = self.pick(place, "running").group
        limit = max(1, len(self.model.running(group)) - fewer)
        if not self.limit(process, group, limit):
            return
        self.the_other_process_sees_the_same()
        for slot in range(limit):
            self.claim_in(1 - process, group, slot, False)

    def limit(self, process: int, key: str, limit: Any) -> bool:
        self.model.single = False
        if self.model.request():
            assert self.call(process, "limit", key, limit) == "HeldByWorker!"
            return False
        self.model.live = {name: value for name, value in self.model.live.items() if name != key}
        self.model.live |= {} if limit is None else {key: limit}
        assert self.call(process, "limit", key, limit) == self.model.group(key)
        for task in self.model.tasks.values():
            group = self.model.group(task.key)
            if task.unfinished and group != task.group:
                task.group, task.slot = group, None  # any free slot: `check_task` reads it
        return True

    def pause(self, process: int, key: str, paused: int) -> None:
        group = self.model.group(key)
        self.model.paused = self.model.paused | {group} if paused else self.model.paused - {group}
        held = paused and self.model.request(group)
        assert self.call(process, "pause", key, paused) == ("HeldByWorker!" if held else group)

    def batch(self, process: int, parent: str | None, limit: int) -> None:
        waiting = [entry for entry in self.model.outbox if entry[0] == parent]
        batched, left = waiting[:limit], waiting[limit:]
        assert self.call(process, "batch", parent, limit) == len(batched)
        if batched:
            busy = any(task.unfinished and task.parent == parent for task in self.model.tasks.values())
            ends = tuple((id, status) for _, id, status in batched)
            self.model.events.append(("background_tasks_batch", ends, not left and not busy))
            self.model.outbox = [entry for entry in self.model.outbox if entry[0] != parent] + left

    @invariant()
    def the_other_process_sees_the_same(self) -> None:
        seen = self.processes[self.other](self.model.now, "contents", self.seq)
        assert [_shown(event) for event in seen["events"]] == self.model.events
        numbers = [event["seq"] for event in seen["events"]]
        assert numbers == sorted(set(numbers)) and (not numbers or numbers[0] > self.seq)
        self.seq, self.model.events = max([self.seq, *numbers]), []
        assert seen["tasks"].keys() == self.model.tasks.keys()
        for task in self.model.tasks.values():
            self.check_task(task, seen["tasks"][task.id])
        self.check_slots()
        self.check_held(seen)

    def check_held(self, seen: dict[str, Any]) -> None:
        held = {task.id: task for task in self.model.tasks.values() if task.held is not None}
        assert seen["held"] == {id: [task.held, task.owner, task.requested] for id, task in held.items()}
        assert seen["stray"] == []
        assert seen["pending"] == Counter(task.group for task in self.model.tasks.values() if task.status == "pending")

    def check_task(self, task: ModelTask, row: dict[str, Any]) -> None:
        if task.status == "running" and task.slot is None:
            task.slot = row["slot"]
        expected = (
            task.status,
            task.attempt,
            task.max_attempts,
            task.slot,
            task.result,
            task.kind,
            task.verdict is not None,
            self.waits_for(task),
        )
        shown = ("status", "attempt", "maxAttempts", "slot", "result", "errorKind", "stopping", "waitingFor")
        assert tuple(row[name] for name in shown) == expected, task

    def waits_for(self, task: ModelTask) -> str | None:
        if task.status != "pending":
            return None
        if not task.ready:
            return "dependency" if task.blockers else "delay"
        return "paused" if task.group in self.model.paused else "supervisor"

    def check_slots(self) -> None:
        slots = Counter((task.group, task.slot) for task in self.model.tasks.values() if task.status == "running")
        assert max(slots.values(), default=1) == 1


def _shown(event: dict[str, Any]) -> tuple[Any, ...]:
    kind, id = event["type"], event.get("taskId")
    if kind == "background_task_started":
        return kind, id, event["attempt"]
    if kind == "background_task_retrying":
        return kind, id, event["attempt"], event["errorKind"]
    if kind == "background_tasks_batch":
        return kind, tuple((task["id"], task["status"]) for task in event["tasks"]), event["allComplete"]
    return kind, id, event["status"], event["errorKind"]


@pytest.mark.timeout(120)
def test_queue_of_two_processes_behaves_like_the_model():
    processes = (QueueProcess(), QueueProcess())

    class Bound(Machine):
        pass

    Bound.processes = processes
    try:
        run_state_machine_as_test(
            Bound,
            settings=settings(
                max_examples=int(os.environ.get("MODEL_EXAMPLES", "50")),
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
    finally:
        for process in processes:
            process.end()
