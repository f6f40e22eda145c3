"""Accept launches in SQLite: the steps of one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput, NotFound, OverCap
from ...model.claim import Assignment
from ...model.task import TaskStatus
from . import claims
from .file.transaction import Transaction, Values
from .limits import assign_group
from .promotion import end_blocked
from .tasks import columns_of, find_state, successor_of

if TYPE_CHECKING:
    from ...config.limits import Limits
    from ...config.settings import BackgroundConfig
    from ..launch import NewTask


class Launching:
    """One transaction that accepts launches."""

    def __init__(self, transaction: Transaction, config: BackgroundConfig, limits: Callable[[], Limits]) -> None:
        self._transaction = transaction
        self._config = config
        self._limits = limits

    def place(self, tasks: Sequence[NewTask]) -> None:
        """Set the session and the limit group of each task. Each pair of session and key is looked up once."""
        pairs = {(task.row["parent"], task.row["key"]) for task in tasks}
        groups = {(parent, key): self._group_of(parent, key) for parent, key in pairs}
        for task in tasks:
            task.group = groups[task.row["parent"], task.row["key"]]
            task.row["parent"], task.row["limit_group"] = task.group["parent"], task.group["limit_group"]

    def _group_of(self, parent: str | None, key: str) -> Values:
        """Return the state of a key's group, with the session that receives launches for `parent`."""
        row = self._transaction.fetch_one("place_task", {"parent": parent, "key": key})
        if row is not None:
            return columns_of(row)
        group = assign_group(self._transaction, self._limits(), key)
        state = self._transaction.fetch_one("get_group_state", {"limit_group": group})
        assert state is not None, "a group is created before its first task"
        return {"parent": successor_of(self._transaction, parent), "limit_group": group, **columns_of(state)}

    def accept(self, task: NewTask) -> None:
        """Insert a task, unless its ID exists already or an unfinished task holds its unique name."""
        task.existing = self._existing(task)
        if task.existing is not None:
            return
        self._refuse_over_cap(task)
        blockers = blockers_of(self._transaction, task.after, task.after_any)
        task.blocked = bool(blockers)
        task.row["ready"] = int(task.row["not_before"] is None and not blockers)
        number = task.number = self._transaction.insert("insert_task", task.row)
        insert_input(self._transaction, number, task.input)
        insert_dependencies(self._transaction, number, blockers)
        if any(map(is_failure, blockers)):
            task.dependency_failed = True
            end_blocked(self._transaction, number)

    def assign(self, task: NewTask) -> Assignment | None:
        """Claim an accepted task for a parked worker of its group, if there is one."""
        if not (task.number and task.may_start):
            return None
        return claims.assign(self._transaction, task.number, {**task.row, **task.input})

    def _existing(self, task: NewTask) -> str | None:
        digest = task.input["digest"]
        if digest is not None:
            row = self._transaction.fetch_one("get_digest", {"id": task.row["id"]})
            if row is not None and row["digest"] != digest:
                raise InvalidInput(f"id: {task.row['id']} is the id of a task with another input.", field="id")
            if row is not None:
                return str(task.row["id"])
        return find_unique_holder(self._transaction, task.row["unique_key"])

    def _refuse_over_cap(self, task: NewTask) -> None:
        cap, parent = self._config.max_tasks_per_parent, task.row["parent"]
        if not cap or parent is None:
            return
        if self._transaction.fetch_value("count_unfinished", {"parent": parent, "cap": cap}) >= cap:
            raise OverCap(
                f"The parent {parent} already has {cap} unfinished tasks, as many as max_tasks_per_parent allows.",
                field="parentSessionId",
            )


def find_unique_holder(transaction: Transaction, name: str | None) -> str | None:
    """Return the ID of the unfinished task that has a unique name, or None."""
    holder: str | None = transaction.fetch_value("find_unique_holder", {"unique_key": name}) if name else None
    return holder


def insert_input(transaction: Transaction, number: int, columns: Mapping[str, Any]) -> None:
    """Insert the input of a task."""
    transaction.insert("insert_input", {**columns, "task": number})


def insert_dependencies(transaction: Transaction, number: int, blockers: Sequence[Mapping[str, Any]]) -> None:
    """Make a task wait for others."""
    for blocker in blockers:
        transaction.run("insert_dependency", {**blocker, "task": number})


def is_failure(blocker: Mapping[str, Any]) -> bool:
    """Return True if a blocker had to complete, and has failed or was cancelled."""
    return bool(blocker["finished"] and not blocker["succeeded"] and not blocker["any_end"])


def existing_blockers(transaction: Transaction, after: Sequence[str], after_any: Sequence[str]) -> list[dict[str, Any]]:
    """Return the tasks to wait for that still exist. A deleted task counts as one that ended as required."""
    existing = {id for id in (*after, *after_any) if find_state(transaction, id) is not None}
    any_end = [id for id in after_any if id in existing]
    to_complete = [id for id in after if id in existing and id not in any_end]
    return blockers_of(transaction, to_complete, any_end)


def blockers_of(transaction: Transaction, after: Sequence[str], after_any: Sequence[str]) -> list[dict[str, Any]]:
    """Return the tasks to wait for. Tasks that have already ended as required are omitted. Raises NotFound."""
    pairs = [(id, False) for id in after] + [(id, True) for id in after_any]
    blockers = [_blocker(transaction, id, any_end) for id, any_end in dict.fromkeys(pairs)]
    return [
        blocker for blocker in blockers if not (blocker["finished"] and (blocker["succeeded"] or blocker["any_end"]))
    ]


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
