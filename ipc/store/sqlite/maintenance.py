"""Settings, retention and upkeep in SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...model.task import Task
from ..values import ClearedRows, FileUser, OldEvent, PrunedRows, Upkeep
from .file.database import CHECKPOINT_AT, Database
from .file.transaction import Row, Transaction
from .file.wal import readers
from .loading import TaskLoader

if TYPE_CHECKING:
    from ...config.settings import BackgroundConfig
    from ..export_format import SavedTask

#: The size from which the write-ahead log is truncated, in bytes. A shorter log is restarted in place, which costs less
#: than growing a file again.
TRUNCATE_AT = 2 * CHECKPOINT_AT


class SqliteMaintenance:
    """See `MaintenanceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def setting(self, name: str) -> str | None:
        with self._database.read() as transaction:
            value: str | None = transaction.fetch_value("get_setting", {"name": name})
        return value

    def apply_settings(self, values: Mapping[str, str], durable: bool = True) -> None:
        with self._database.write(durable=durable) as transaction:
            for name, value in values.items():
                transaction.run("set_setting", {"name": name, "value": value})

    def newest_time(self) -> int | None:
        with self._database.read() as transaction:
            value: int | None = transaction.fetch_value("get_newest_time")
        return value

    # retention

    def old_events(self, after: int, ancient: int, limit: int) -> list[OldEvent]:
        values = {"after": after, "ancient": ancient, "limit": limit}
        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_old_events", values)
        return [OldEvent(row["seq"], row["at"], row["parent"], bool(row["deletable"]), row["tasks"]) for row in rows]

    def delete_events(self, seqs: Sequence[int], ends: Mapping[str, int], before: int) -> PrunedRows:
        numbers = {"seqs": json.dumps(seqs)}
        with self._database.write(durable=False) as transaction:
            reported = [_file_user(row) for row in transaction.fetch_all("list_batched_tasks", numbers)]
            tasks = _delete_tasks(transaction, reported, before)
            events = transaction.run("delete_events", numbers)
            for parent, seq in ends.items():
                transaction.run("record_truncation", {"parent": parent, "seq": seq})
        return PrunedRows(tasks, events)

    def old_tasks(self, place: tuple[int, int], before: int, ancient: int, limit: int) -> list[FileUser]:
        start, after = place
        values = {"from": start, "after": after, "before": before, "ancient": ancient, "limit": limit}
        with self._database.read() as transaction:
            return [_file_user(row) for row in transaction.fetch_all("list_old_tasks", values)]

    def delete_tasks(self, tasks: Sequence[FileUser], before: int) -> list[FileUser]:
        with self._database.write(durable=False) as transaction:
            return _delete_tasks(transaction, tasks, before)

    def delete_idle_groups(self, limit: int) -> int:
        return self._run("delete_idle_groups", {"limit": limit})

    def delete_idle_keys(self, limit: int) -> int:
        return self._run("delete_idle_keys", {"limit": limit})

    def idle_parents(self, after: str, limit: int) -> list[str]:
        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_idle_parents", {"after": after, "limit": limit})
        return [row["parent"] for row in rows]

    def delete_parents(self, parents: Sequence[str]) -> None:
        values = {"parents": json.dumps(parents)}
        with self._database.write(durable=False) as transaction:
            transaction.run("delete_cursors", values)
            transaction.run("delete_truncations", values)

    def delete_clients(self, before: int) -> None:
        self._run("delete_clients", {"before": before})

    def file_users(self, before: int, limit: int) -> list[FileUser]:
        with self._database.read() as transaction:
            return [
                _file_user(row) for row in transaction.fetch_all("list_file_users", {"before": before, "limit": limit})
            ]

    def _run(self, name: str, values: Mapping[str, Any]) -> int:
        with self._database.write(durable=False) as transaction:
            return transaction.run(name, values)

    # all tasks

    def clear(self) -> ClearedRows | None:
        with self._database.write() as transaction:
            if transaction.fetch_value("has_unsettled_task"):
                return None
            copied = [row["stdin_file"] for row in transaction.fetch_all("list_stdin_files")]
            claim = transaction.fetch_value("get_last_claim")
            transaction.run("record_cleared_events")
            events = transaction.run("clear_events")
            tasks = transaction.run("clear_tasks")
            transaction.run("clear_cursors")
        return ClearedRows(tasks, events, copied, claim)

    def add(self, tasks: Sequence[SavedTask], config: BackgroundConfig) -> int:
        with self._database.write() as transaction:
            return TaskLoader(transaction, config).add(tasks)

    def replace(self, tasks: Mapping[str, Task], saved: Iterable[SavedTask], config: BackgroundConfig) -> bool | None:
        with self._database.write() as transaction:
            if transaction.fetch_value("has_running_task"):
                return False
            if transaction.fetch_value("has_unbatched_end"):
                return None
            TaskLoader(transaction, config).replace(tasks, saved)
        return True

    # the write-ahead log

    def maintain(self) -> Upkeep:
        if self._database.wal_bytes() >= TRUNCATE_AT:
            self._database.checkpoint()
        size = self._database.wal_bytes()
        return Upkeep(size, size >= TRUNCATE_AT)

    def blockers(self) -> list[int]:
        return readers(self._database.home.database)


def _file_user(row: Row) -> FileUser:
    return FileUser(row["number"], row["claim"], row["stdin_file"], row["completed_at"])


def _delete_tasks(transaction: Transaction, tasks: Sequence[FileUser], before: int) -> list[FileUser]:
    by_number = {task.number: task for task in tasks}
    values = {"numbers": json.dumps(list(by_number)), "before": before}
    return [by_number[row["number"]] for row in transaction.fetch_all("delete_tasks", values)]
