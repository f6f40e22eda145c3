"""The queue: every change of a task's state, each one method and one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import clock
from ..config.limits import Limits
from ..config.settings import BackgroundConfig
from ..errors import InvalidInput, MoveNotAllowed, NotFound, OverCap, Temporary, UnknownAgent
from ..failpoints import failpoint
from ..model.claim import Advance, Held
from ..model.launch import LaunchInput
from ..model.task import BRIEF_LIMIT, RESULT_LIMIT, Task, TaskStatus, cut
from . import claiming, parking
from .applied_config import applied_configuration
from .claiming import HELD
from .groups import assign, load_limits
from .launch import Order, follow_up
from .publication import TIMEOUT, Publication
from .sessions import successor_of
from .sqlite.database import Database, Row, Transaction, Values
from .tasks import Tasks, find_state, known_task, said_of, state_of, state_of_group

if TYPE_CHECKING:  # a launch needs none of them
    from ..model.claim import Claimed, Rescued, Settlement, Slot, Step, Taken
    from .parking import Assignment
    from .processes import Running

#: Tasks that are cancelled in one transaction at most.
CANCELS = 100

#: Bytes of a hint: far below what a pipe takes in one piece.
HINT_LIMIT = 400


class Launched(NamedTuple):
    """An accepted task, or the one that was there already."""

    id: str
    existing: bool


class Queue(Tasks):
    """The tasks of a home, to read and to move."""

    def __init__(self, database: Database, config: BackgroundConfig) -> None:
        """Work on this database, with the defaults, agents and caps of `config`."""
        super().__init__(database, config)
        self._limits = Limits(config.default_concurrency, config.model_concurrency, {})
        self._limits_version = -1
        #: Seconds to wait for a worker that holds a task; a process that serves others sets 0.
        self.publication_timeout = TIMEOUT

    # launching

    def launch(self, wanted: LaunchInput) -> Launched:
        """Accept one task. Raises as `launch_many`."""
        return self.launch_many([wanted])[0]

    def launch_many(self, wanted: Sequence[LaunchInput]) -> list[Launched]:
        """Accept tasks, all or none, in order.

        Raises InvalidInput, UnknownAgent, NotFound (`after`, `resume`), MoveNotAllowed (`resume`), OverCap, Temporary.
        """
        return [Launched(order.id, order.existing is not None) for order in self.accept(wanted)]

    def accepted(self, orders: Sequence[Order]) -> list[Task]:
        """The tasks as they were accepted, or as one is now that was there already; what they wait for is looked at."""
        new = {order.id: order.accepted for order in orders if not (order.existing or order.doomed)}
        tasks = {task.id: task for task in self._seen([*new.values()])}
        return [tasks.get(order.id) or self.get(order.id) for order in orders]

    def accept(self, wanted: Sequence[LaunchInput]) -> list[Order]:
        """Like `launch_many`, but return the accepted orders."""
        try:
            orders = self._orders(wanted, self.config)
        except UnknownAgent:
            orders = self._orders(wanted, self._with_applied_agents())
        self._copy_stdins(orders)
        with self.database.write() as transaction:
            self._place(transaction, orders)
            for order in orders:
                self._accept(transaction, order)
            assignment = _assign(transaction, orders[0]) if len(orders) == 1 else None
        if assignment is not None:
            self._send(assignment)
        elif groups := {order.row["limit_group"] for order in orders if order.needs_supervisor}:
            self.home.wake("supervisor", _hint(groups))
        if assignment is not None or any(order.doomed for order in orders):
            self.home.wake("flusher")
        return orders

    def _send(self, assignment: Assignment) -> None:
        """Send a task to the parked worker that it was claimed for; have the supervisor look if that worker is dead."""
        with failpoint("launch.assignment.send"):
            sent = parking.send(self.home, assignment)
        if sent:
            return
        from .processes import wake_process

        try:
            alive = wake_process(self.database, assignment.owner)
        except Temporary:  # the task is accepted whether or not its worker can be looked up now
            alive = False
        if not alive:
            self.home.wake("supervisor")

    def _copy_stdins(self, orders: list[Order]) -> None:
        for order in orders:
            order.copy_stdin(self.home)
            if self.database.durability == "full":
                order.sync_stdin(self.home)

    def _place(self, transaction: Transaction, orders: list[Order]) -> None:
        """Set the session and the limit group of each task; each pair of session and key is looked up once."""
        pairs = {(order.row["parent"], order.row["key"]) for order in orders}
        places = {(parent, key): self._place_of(transaction, parent, key) for parent, key in pairs}
        for order in orders:
            order.group = places[order.row["parent"], order.row["key"]]
            order.row["parent"], order.row["limit_group"] = order.group["parent"], order.group["limit_group"]

    def _place_of(self, transaction: Transaction, parent: str | None, key: str) -> Values:
        row = transaction.one("place_task", {"parent": parent, "key": key})
        if row is not None:
            return said_of(row)
        group = assign(transaction, self._current_limits(transaction), key)
        return {"parent": successor_of(transaction, parent), "limit_group": group, **state_of_group(transaction, group)}

    def _orders(self, wanted: Sequence[LaunchInput], config: BackgroundConfig) -> list[Order]:
        many = len(wanted) > 1
        return [self._order(one, config, f"tasks[{at}]." if many else "") for at, one in enumerate(wanted)]

    def _order(self, wanted: LaunchInput, config: BackgroundConfig, where: str) -> Order:
        if wanted.resume is None:
            return Order.of(wanted, config, where)
        task = self.get(wanted.resume)
        order = Order.of(follow_up(wanted, task, config, where), config, where)
        order.row["session"] = task.session_id
        return order

    def _with_applied_agents(self) -> BackgroundConfig:
        """This process's configuration, and the agents that the supervisor was given besides (by flags, elsewhere)."""
        applied = applied_configuration(self.database)
        default = self.config.default_agent or applied.default_agent
        return replace(self.config, agents={**applied.agents, **self.config.agents}, default_agent=default)

    def _current_limits(self, transaction: Transaction) -> Limits:
        version = transaction.value("get_limits_version")
        if version != self._limits_version:
            self._limits, self._limits_version = load_limits(transaction, self.config), version
        return self._limits

    def _accept(self, transaction: Transaction, order: Order) -> None:
        order.existing = _existing(transaction, order)
        if order.existing is not None:
            return
        self._refuse_over_cap(transaction, order)
        blockers = blockers_of(transaction, order.after, order.after_any)
        order.blocked = bool(blockers)
        order.row["ready"] = int(order.row["not_before"] is None and not blockers)
        number = order.number = transaction.insert("insert_task", order.row)
        keep_input(transaction, number, order.input)
        depend(transaction, number, blockers)
        if any(blocker["finished"] and not blocker["succeeded"] and not blocker["any_end"] for blocker in blockers):
            order.doomed = True
            _end_pending(transaction, number, "dependency", "A task that it comes after had already ended badly.")

    def _refuse_over_cap(self, transaction: Transaction, order: Order) -> None:
        cap, parent = self.config.max_tasks_per_parent, order.row["parent"]
        if not cap or parent is None:
            return
        if transaction.value("count_unfinished", {"parent": parent, "cap": cap}) >= cap:
            raise OverCap(
                f"The parent {parent} already has {cap} unfinished tasks, as many as max_tasks_per_parent allows.",
                field="parentSessionId",
            )

    # running

    def claim(self, slot: Slot, owner: int | None) -> Claimed | None:
        """Start an attempt at the next task of the slot's group; None if there is none, or the slot may not be used.

        An owner of None claims work that is done outside, a worker all else.
        """
        taken = self.take(slot, owner, 1)
        return taken[0].claimed() if taken else None

    def take(self, slot: Slot, owner: int | None, count: int) -> list[Taken]:
        """Start the next task of the slot's group and hold up to `count` - 1 of those behind it; return them in order.

        The count of running tasks and the claim are one transaction: two workers can never exceed the limit.
        """
        with self.database.write(durable=False) as transaction:
            taken = claiming.take(transaction, slot, owner, count)
        if taken:
            self.home.wake("flusher")
        return taken

    def advance(self, step: Step) -> Advance:
        """Publish what became of the tasks that a worker has taken, and take more, in order; one transaction.

        A worker that wants a task and finds none is parked in its slot.
        """
        with self.database.write(durable=False) as transaction:
            retried = TaskStatus.PENDING in claiming.end(transaction, step.ended, step.owner)
            if step.current is not None and not step.current.current:
                claiming.start(transaction, step.current, step.owner)
            if returned := [(one.number, one.claim) for one in step.returned]:
                claiming.require(claiming.give_back(transaction, returned), len(returned))
            taken = claiming.take(transaction, step.slot, step.owner, step.count) if step.count else []
            parked = bool(step.count) and not taken and parking.park(transaction, step.slot, step.owner)
            followed = retried or bool(returned) or transaction.value("has_finished_dependency") is not None
        if step.current is not None:
            step.current.current = True
        if step.ended or step.current or taken:
            self.home.wake("flusher")
        if followed:
            self.home.wake("supervisor")
        return Advance(taken, parked)

    def settle(self, settlement: Settlement) -> str | None:
        """End an attempt; return its task's status, or None where its claim is no longer in force: nothing changed."""
        with self.database.write(durable=False) as transaction:
            status = claiming.settle(transaction, settlement)
            followed = status == TaskStatus.PENDING or transaction.value("has_finished_dependency") is not None
        self.home.wake("flusher")
        if followed:
            self.home.wake("supervisor")
        return status

    def held_by(self, owner: int) -> list[Held]:
        """Return the tasks that a worker holds, in order."""
        with self.database.read() as transaction:
            return [Held(*row) for row in transaction.tuples("list_held", {"owner": owner})]

    def all_held(self) -> list[Held]:
        """Return the tasks that workers hold, whether the registry knows these workers or not."""
        with self.database.read() as transaction:
            return [Held(*row) for row in transaction.tuples("list_all_held", {})]

    def rescue(self, attempts: Sequence[Rescued]) -> list[str | None]:
        """Settle what a dead worker had taken, in order, in one transaction; return the statuses.

        Nothing happens to a task whose claim is no longer in force: its status is None.
        """
        with self.database.write(durable=False) as transaction:
            statuses = [claiming.rescue(transaction, one) for one in attempts]
        self.home.wake("flusher")
        self.home.wake("supervisor")
        return statuses

    def note_pid(self, number: int, claim: int, pid: int | None) -> None:
        """Tell who the first process of a try is, for people to see; nothing is decided on it."""
        with self.database.write(durable=False) as transaction:
            transaction.run("set_pid", {"number": number, "claim": claim, "pid": pid})

    def decide(self, number: int, claim: int, verdict: TaskStatus, text: str | None, kind: str | None) -> bool:
        """Write a running try's verdict; whether it was the first."""
        with self.database.write(durable=False) as transaction:
            return _write_verdict(transaction, {"number": number, "claim": claim}, verdict, text, kind)

    def verdict(self, id: str, claim: int) -> str | None:
        """What was decided about a running try, or None; `lost` where that try is no longer the one in force."""
        state = self._state(id)
        if state["status"] != TaskStatus.RUNNING or state["claim"] != claim:
            return "lost"
        found: str | None = state["verdict"]
        return found

    def progress_of(self, id: str) -> str | None:
        """What a task said last of its progress."""
        found: str | None = self._state(id)["progress"]
        return found

    def note_stale(self, number: int, claim: int, idle_ms: int) -> None:
        """Tell, once per attempt, that a try gave no sign of life for so long."""
        with self.database.write(durable=False) as transaction:
            transaction.run("set_stale", {"number": number, "claim": claim, "idle_ms": idle_ms})
        self.home.wake("flusher")

    # verdicts from outside

    def cancel(self, id: str) -> Task:
        """Cancel a task: at once if it is pending, else by a verdict that its worker carries out.

        Raises NotFound, MoveNotAllowed if it has ended, HeldByWorker.
        """

        def cancel(transaction: Transaction, state: Row) -> None:
            if state["status"] == TaskStatus.PENDING:
                transaction.run("cancel_pending", {"number": state["number"], "now": clock.now()})
            elif state["status"] != TaskStatus.RUNNING:
                raise MoveNotAllowed(f"Task {id} has already ended ({state['status']}).")
            elif state["verdict"] != TaskStatus.CANCELLED:
                _rule(transaction, state, TaskStatus.CANCELLED, None, None)

        return self._after(self._change(id, cancel), id)

    def cancel_all(self, ids: Sequence[str]) -> list[str]:
        """Cancel those of some tasks that have not ended, many in one transaction; return which.

        Raises Temporary, HeldByWorker.
        """
        cancelled: list[str] = []
        for start in range(0, len(ids), CANCELS):
            some = ids[start : start + CANCELS]
            publication = Publication(self.database, self.publication_timeout)
            while some:
                done, holders = self._cancel_some(some)
                cancelled += done
                some = [id for id in some if id not in done] if holders else []
                if some:
                    publication.wait_for(holders)
        return list(dict.fromkeys(cancelled))

    def _cancel_some(self, ids: Sequence[str]) -> tuple[list[str], set[int]]:
        """Return the tasks that are cancelled or will be, and the workers that hold others."""
        with self.database.write() as transaction:
            states = {id: find_state(transaction, id) for id in ids}
            known = {id: state for id, state in states.items() if state is not None}
            holders = {state["owner"] for state in known.values() if _request_if_held(transaction, state)}
            done = [id for id, state in known.items() if _cancel(transaction, state)]
        if done:
            self._wake({known[id]["owner"] for id in done} - {None})
            self.home.wake("supervisor")
            self.home.wake("flusher")
        return done, holders

    def complete(self, id: str, result: str | None = None) -> Task:
        """Record that a running task has completed. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        return self._end_from_outside(id, TaskStatus.COMPLETED, result, None)

    def fail(self, id: str, error: str) -> Task:
        """Record that a running task has failed. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        return self._end_from_outside(id, TaskStatus.ERROR, error, "failed")

    def _end_from_outside(self, id: str, verdict: TaskStatus, text: str | None, kind: str | None) -> Task:
        def rule(transaction: Transaction, state: Row) -> None:
            if state["status"] != TaskStatus.RUNNING:
                raise MoveNotAllowed(f"Task {id} is not running ({state['status']}).")
            _rule(transaction, state, verdict, text, kind)

        return self._after(self._change(id, rule), id)

    def progress(self, id: str, text: str) -> Task:
        """Record how far a running task is. Raises NotFound, MoveNotAllowed, HeldByWorker."""

        def note(transaction: Transaction, state: Row) -> None:
            if not transaction.run("set_progress", {"id": id, "text": cut(text, BRIEF_LIMIT)}):
                raise MoveNotAllowed(f"Task {id} is not running ({state['status']}).")

        self._change(id, note)
        self.home.wake("flusher")
        return self.get(id)

    def _change(self, id: str, change: Callable[[Transaction, Row], None]) -> Row:
        """Change a task in a transaction, once no worker holds it; return the state it was in."""
        publication = Publication(self.database, self.publication_timeout)
        while True:
            with self.database.write() as transaction:
                state = state_of(transaction, id, self.home.folder)
                held = _request_if_held(transaction, state)
                if not held:
                    change(transaction, state)
            if not held:
                return state
            publication.wait_for({state["owner"]})

    def note_progress(self, number: int, claim: int, text: str) -> None:
        """Note how far a running try is, as its worker reads it from its output."""
        with self.database.write(durable=False) as transaction:
            values = {"number": number, "claim": claim, "text": cut(text, BRIEF_LIMIT)}
            transaction.run("record_progress", values)
        self.home.wake("flusher")

    def retry(self, id: str) -> Task:
        """Queue a failed or cancelled task again under its id. Raises NotFound, MoveNotAllowed."""
        with self.database.write() as transaction:
            state = state_of(transaction, id, self.home.folder)
            if state["status"] not in (TaskStatus.ERROR, TaskStatus.CANCELLED):
                raise MoveNotAllowed(
                    f"Task {id} can be retried after an error or a cancellation, not from {state['status']}."
                )
            task = known_task(transaction, id)
            if holder_of_unique(transaction, task.unique_key) is not None:
                raise MoveNotAllowed(f"Another task holds the unique name {task.unique_key} now.")
            kept = {"parent": task.parent_session_id, "task": state["number"], "snapshot": json.dumps(task.brief())}
            transaction.run("save_snapshot", kept)
            group = assign(transaction, self._current_limits(transaction), task.concurrency_key)
            transaction.run("delete_finished_dependencies", {"task": state["number"], "every": False})
            transaction.run("retry_task", {"number": state["number"], "now": clock.now(), "limit_group": group})
        self.home.wake("supervisor")
        return self.get(id)

    def _after(self, state: Row, id: str) -> Task:
        """Tell those concerned that a verdict was written, and answer with the task as it is now."""
        self._wake({state["owner"]} - {None})
        self.home.wake("supervisor")
        self.home.wake("flusher")
        return self.get(id)

    def _wake(self, owners: set[int]) -> None:
        from .processes import wake_process

        for owner in owners:
            wake_process(self.database, owner)

    def interrupt(self, running: Running, requeue: bool) -> bool:
        """Have a running try ended because the supervisor goes down; back to the queue where it may be run again."""
        again = requeue or running.attempt < running.max_attempts
        verdict = TaskStatus.PENDING if again else TaskStatus.ERROR
        return self.decide(
            running.number, running.claim, verdict, "It was interrupted: the supervisor went down.", "interrupted"
        )

    # time and dependencies

    def next_due(self) -> int | None:
        """When `promote` has something to do, in milliseconds since 1970; 0 for now."""
        with self.database.read() as transaction:
            if transaction.value("has_finished_dependency") is not None:
                return 0
            due = transaction.value("get_next_due")
        return None if due is None else int(due)

    def shift(self, by: int, since: int) -> None:
        """The wall clock was set by so many milliseconds: delays, expiries and timeouts stay as long as they are.

        What was launched after `since`, by the clock as it goes now, knew of it.
        """
        with self.database.write() as transaction:
            transaction.run("shift_times", {"by": by, "since": since, "now": clock.now()})

    def promote(self, most: int = 200) -> set[str]:
        """Let those be claimed whose delay or dependency is over, end those that waited too long; their groups."""
        now = clock.now()
        with self.database.write(durable=False) as transaction:
            late = transaction.all("list_due", {"now": now, "limit": most})
            for row in late:
                _promote(transaction, row, now)
            over = transaction.all("list_finished_dependencies", {"limit": most})
            for row in over:
                _resolve(transaction, row, now)
        self.home.wake("flusher")
        return {row["limit_group"] for row in [*late, *over]}


def _hint(groups: set[str]) -> str:
    """Where there is something new, if that can be said in a short line; else that one must look everywhere."""
    line = json.dumps(sorted(groups))
    return line if len(line) < HINT_LIMIT else ""


def _assign(transaction: Transaction, order: Order) -> Assignment | None:
    """Claim a task that was just accepted for a parked worker, if there is one for it."""
    if not (order.number and order.may_start):
        return None
    return parking.assign(transaction, order.number, {**order.row, **order.input})


def _existing(transaction: Transaction, order: Order) -> str | None:
    digest = order.input["digest"]
    if digest is not None:
        row = transaction.one("get_digest", {"id": order.row["id"]})
        if row is not None and row["digest"] != digest:
            raise InvalidInput(f"id: {order.row['id']} is the id of a task with another input.", field="id")
        if row is not None:
            return str(order.row["id"])
    return holder_of_unique(transaction, order.row["unique_key"])


def holder_of_unique(transaction: Transaction, name: str | None) -> str | None:
    """The unfinished task that has a unique name."""
    holder: str | None = transaction.value("find_unique_holder", {"unique_key": name}) if name else None
    return holder


def keep_input(transaction: Transaction, number: int, given: Mapping[str, Any]) -> None:
    """Keep what a task was launched with."""
    transaction.insert("insert_input", {**given, "task": number})


def depend(transaction: Transaction, number: int, blockers: Sequence[Mapping[str, Any]]) -> None:
    """Have a task wait for others."""
    for blocker in blockers:
        transaction.run("insert_dependency", {**blocker, "task": number})


def blockers_of(transaction: Transaction, after: Sequence[str], after_any: Sequence[str]) -> list[dict[str, Any]]:
    """The tasks that one waits for, without those whose end is already good enough. Raises NotFound."""
    pairs = [(id, False) for id in after] + [(id, True) for id in after_any]
    found = [_blocker(transaction, id, any_end) for id, any_end in dict.fromkeys(pairs)]
    return [blocker for blocker in found if not (blocker["finished"] and (blocker["succeeded"] or blocker["any_end"]))]


def _blocker(transaction: Transaction, id: str, any_end: bool) -> dict[str, Any]:
    row = find_state(transaction, id)
    if row is None:
        raise NotFound(f"There is no task {id} to come after.", field="after")
    status = TaskStatus(row["status"])
    return {
        "blocker": row["number"],
        "any_end": any_end,
        "finished": status.ended,
        "succeeded": status is TaskStatus.COMPLETED,
    }


def _request_if_held(transaction: Transaction, state: Row) -> bool:
    """Return True for a task that its worker holds, after asking for it."""
    if state["ready"] != HELD:
        return False
    return transaction.run("request_held", {"number": state["number"], "now": clock.now()}) == 1


def _cancel(transaction: Transaction, state: Row) -> bool:
    """Cancel a task that is pending, or write the verdict on one that runs; whether it is, or will be, cancelled."""
    if transaction.run("cancel_pending", {"number": state["number"], "now": clock.now()}):
        return True
    if state["status"] != TaskStatus.RUNNING or state["verdict"] not in (None, TaskStatus.PENDING):
        return bool(state["verdict"] == TaskStatus.CANCELLED)
    _rule(transaction, state, TaskStatus.CANCELLED, None, None)
    return True


def _rule(transaction: Transaction, state: Row, verdict: TaskStatus, text: str | None, kind: str | None) -> None:
    """Write a verdict; work done outside has no tree to end and is settled at once."""
    if not _write_verdict(transaction, {"number": state["number"], "claim": state["claim"]}, verdict, text, kind):
        raise MoveNotAllowed(f"The task is already being ended ({state['verdict']}).")
    if state["agent"] == "external":
        from ..model.claim import Settlement

        settle_verdict = Settlement(number=state["number"], claim=state["claim"], status=verdict)
        claiming.settle(transaction, settle_verdict)


def _write_verdict(
    transaction: Transaction, claim: dict[str, int], verdict: TaskStatus, text: str | None, kind: str | None
) -> bool:
    kept = cut(text, RESULT_LIMIT)
    brief = claiming.brief(kept) if verdict is TaskStatus.COMPLETED else None
    values = {**claim, "verdict": verdict, "text": kept, "kind": kind, "brief": brief, "truncated": kept != text}
    return transaction.run("write_verdict", values) == 1


def _end_pending(transaction: Transaction, number: int, kind: str, error: str) -> None:
    transaction.run("end_pending", {"number": number, "kind": kind, "error": error, "now": clock.now()})


def _promote(transaction: Transaction, row: Row, now: int) -> None:
    if row["status"] == TaskStatus.RUNNING:
        _time_out(transaction, row)
    elif row["expires_at"] is not None and row["expires_at"] <= now:
        _end_pending(transaction, row["number"], "expired", "It waited longer than max_queue_wait_s.")
    else:
        transaction.run("make_ready", {"number": row["number"], "ready": not row["blocked"]})


def _time_out(transaction: Transaction, row: Row) -> None:
    """Work done outside has no worker that looks at the clock."""
    from ..model.claim import Settlement

    again = row["attempt"] < row["max_attempts"]
    error = f"No verdict within {row['timeout_ms']} ms."
    status = TaskStatus.PENDING if again else TaskStatus.ERROR
    claiming.settle(
        transaction,
        Settlement(number=row["number"], claim=row["claim"], status=status, error=error, error_kind="timeout"),
    )


def _resolve(transaction: Transaction, row: Row, now: int) -> None:
    if row["status"] == TaskStatus.PENDING and row["bad"]:
        _end_pending(transaction, row["number"], "dependency", "A task that it comes after ended badly.")
    elif row["status"] == TaskStatus.PENDING and not row["open"]:
        late = row["not_before"] is None or row["not_before"] <= now
        if late:
            transaction.run("make_ready", {"number": row["number"], "ready": True})
    ended = row["status"] != TaskStatus.PENDING or bool(row["bad"])
    transaction.run("delete_finished_dependencies", {"task": row["number"], "every": ended})
