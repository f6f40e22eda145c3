"""The raw limits: the same work on bare SQLite under a lock file, as remote functions."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.bench_parts.remote import is_called

Function = Callable[..., dict[str, Any]]

#: Seconds between two looks at an empty queue.
PAUSE = 0.0002

SCHEMA = """
CREATE TABLE tasks (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, parent TEXT NOT NULL,
  call TEXT NOT NULL, args TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'pending', result TEXT);
CREATE INDEX ready ON tasks (number) WHERE status = 'pending';
CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, at INTEGER NOT NULL,
  parent TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX events_of_parent ON events (parent, seq);
"""
EVENT = "INSERT INTO events (type, at, parent, body) VALUES (?, ?, ?, ?)"


class Store:
    """A database in WAL mode whose writers take a lock file in turns."""

    def __init__(self, path: str, synchronous: str) -> None:
        """Open it with this `PRAGMA synchronous`."""
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._gate = os.open(f"{path}.gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction while no other process writes."""
        fcntl.lockf(self._gate, fcntl.LOCK_EX)
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        finally:
            fcntl.lockf(self._gate, fcntl.LOCK_UN)

    def changed(self) -> int:
        """Return a number that changes when another process has written."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])


def make(path: Path) -> None:
    """Create the database."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA)
    connection.close()


def inserter(path: str, synchronous: str) -> Function:
    """Insert pending tasks of a parent, `chunk` in a transaction."""
    store = Store(path, synchronous)

    def insert(parent: str, count: int, chunk: int) -> dict[str, Any]:
        began, ids = time.monotonic(), []
        for start in range(0, count, chunk):
            fresh = [f"bg-{uuid.uuid4()}" for _ in range(min(chunk, count - start))]
            with store.write() as connection:
                rows = [(id, parent, "noop:noop", "[]") for id in fresh]
                connection.executemany("INSERT INTO tasks (id, parent, call, args) VALUES (?, ?, ?, ?)", rows)
            ids += fresh
        return {"began": began, "ids": ids}

    return insert


def worker(path: str, synchronous: str) -> Function:
    """Claim, run and settle tasks until called again; a settlement and the next claim are one transaction."""
    store = Store(path, synchronous)

    def work(keep_working: bool) -> dict[str, Any]:
        seen, done = -1, 0
        while keep_working:
            if (now := store.changed()) == seen:
                if is_called(PAUSE):
                    break
                continue
            task = _turn(store, None)
            while task is not None:
                result = json.dumps(_noop(*json.loads(task[3])))
                done += 1
                task = _turn(store, (task, result))
            seen = now
        return {"done": done}

    return work


def _noop() -> None:
    return None


def _turn(store: Store, ended: tuple[Any, str] | None) -> Any:
    with store.write() as connection:
        if ended is not None:
            _settle(connection, *ended)
        row = connection.execute(
            "UPDATE tasks SET status = 'running' WHERE status = 'pending' AND number ="
            " (SELECT number FROM tasks WHERE status = 'pending' ORDER BY number LIMIT 1)"
            " RETURNING number, id, parent, args"
        ).fetchall()
        if not row:
            return None
        body = json.dumps({"taskId": row[0][1]})
        connection.execute(EVENT, ("started", time.time_ns() // 1_000_000, row[0][2], body))
    return row[0]


def _settle(connection: sqlite3.Connection, task: Any, result: str) -> None:
    connection.execute("UPDATE tasks SET status = 'completed', result = ? WHERE number = ?", (result, task[0]))
    body = json.dumps({"taskId": task[1], "result": result})
    connection.execute(EVENT, ("completed", time.time_ns() // 1_000_000, task[2], body))


def reader(path: str) -> Function:
    """Read the log until it has the ends of `count` tasks of a parent."""
    store = Store(path, "NORMAL")

    def read(parent: str, count: int) -> dict[str, Any]:
        seen, seq, ids = -1, 0, list[str]()
        while len(ids) < count:
            if (now := store.changed()) == seen:
                time.sleep(PAUSE)
                continue
            seen = now
            rows = store.connection.execute(
                "SELECT seq, type, body FROM events WHERE parent = ? AND seq > ? ORDER BY seq", (parent, seq)
            ).fetchall()
            seq = rows[-1][0] if rows else seq
            ids += [json.loads(body)["taskId"] for _, type, body in rows if type == "completed"]
        return {"ended": time.monotonic(), "ids": ids}

    return read


def row_inserter(path: str, synchronous: str, pattern: str) -> Function:
    """Insert copies of one task's rows in a home's own schema, one task in a transaction."""
    store = Store(path, synchronous)
    tables = [_row_of(store, "tasks", "id", pattern)]
    tables.append(_row_of(store, "inputs", "task", tables[0].pop("number")))

    def insert(count: int) -> dict[str, Any]:
        began, waits, cpu = time.monotonic(), [], time.process_time()
        for _ in range(count):
            before = time.monotonic()
            with store.write() as connection:
                tables[0]["id"] = f"bg-{uuid.uuid4()}"
                tables[1]["task"] = _insert(connection, "tasks", tables[0])
                _insert(connection, "inputs", tables[1])
            waits.append(time.monotonic() - before)
        return {"began": began, "ended": time.monotonic(), "waits": waits, "cpu": time.process_time() - cpu}

    return insert


def _row_of(store: Store, table: str, column: str, value: object) -> dict[str, Any]:
    cursor = store.connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))
    return dict(zip([one[0] for one in cursor.description], cursor.fetchone(), strict=True))


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    holders = ", ".join(f":{name}" for name in row)
    return connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({holders})", row).lastrowid or 0
