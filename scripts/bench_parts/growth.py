"""Rates and latencies in a home with a long history and a long queue, and the time of a start after a crash."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.latency import Samples
from scripts.bench_parts.ours import BenchHome
from scripts.bench_parts.timing import Fifo

CALL: dict[str, object] = {"call": "noop:noop"}
COMMAND: dict[str, object] = {"command": ["true"]}

#: Tasks that are running when all processes of backburner are killed.
RUNNING = 16


@dataclass(frozen=True)
class History:
    """The numbers of tasks, parents and keys in a home; the keys of the pending tasks are paused."""

    ended: int
    pending: int
    parents: int
    keys: int

    def fill(self, home: BenchHome) -> None:
        """Copy one task's rows, with an event for each start and each end. No supervisor runs."""
        launch = ("launch", "--parent", "old", "--key", "old", "--cwd", str(home.project), "--", "true")
        pattern = home.check(*launch).strip()
        with closing(sqlite3.connect(home.home / "backburner.db")) as connection, connection:
            connection.execute("PRAGMA cache_size = -200000")
            self._keys(connection)
            first = connection.execute("SELECT number FROM tasks WHERE id = ?", (pattern,)).fetchone()[0]
            self._tasks(connection, first)
            self._events(connection, first)
        home.check("cancel", pattern)

    def _keys(self, connection: sqlite3.Connection) -> None:
        for table, changed in (("keys", {"limit_group": "name"}), ("groups", {"paused": "1", "pending": "0"})):
            every = {"name": "'old-' || value", **changed}
            every["limit_group"] = "'old-' || value"
            _copy(connection, table, "name = 'old'", every, self.keys)

    def _tasks(self, connection: sqlite3.Connection, first: int) -> None:
        named = {
            "number": f"{first} + 1 + value",
            "id": "printf('bg-%08x-0000-4000-8000-%012x', value, value)",
            "parent": f"'old-' || (value % {self.parents})",
            "key": f"'old-' || (value % {self.keys})",
            "limit_group": f"'old-' || (value % {self.keys})",
        }
        at = f"CASE WHEN value < {self.ended} THEN queued_at - {self.ended} + value END"
        ended = {
            "status": f"CASE WHEN value < {self.ended} THEN 'completed' ELSE 'pending' END",
            "ready": f"value >= {self.ended}",
            "attempt": f"value < {self.ended}",
            **dict.fromkeys(("started_at", "completed_at"), at),
        }
        count = self.ended + self.pending
        _copy(connection, "tasks", f"number = {first}", {**named, **ended}, count)
        _copy(connection, "inputs", f"task = {first}", {"task": f"{first} + 1 + value"}, count)

    def _events(self, connection: sqlite3.Connection, first: int) -> None:
        body = json.dumps({"sessionId": None, "status": "completed", "result": "", "error": None, "errorKind": None})
        connection.execute(
            "INSERT INTO events (type, at, parent, body)"
            " SELECT column1, t.completed_at, t.parent, json_set(?, '$.taskId', t.id)"
            " FROM tasks t, (VALUES ('background_task_started'), ('background_task_completed'))"
            " WHERE t.number > ? AND t.status = 'completed'",
            (body, first),
        )


def _copy(connection: sqlite3.Connection, table: str, which: str, changed: dict[str, str], count: int) -> None:
    """Copy one row `count` times; expressions may use the number `value` of the copy."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    expressions = ", ".join(changed.get(name, name) for name in columns)
    connection.execute(
        "WITH RECURSIVE counting (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM counting WHERE value < ? - 1)"
        f" INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {expressions} FROM counting, (SELECT * FROM {table} WHERE {which})",
        (count,),
    )


class Home(Contestant):
    """An empty or a filled home."""

    def __init__(self, name: str, count: int, history: History | None) -> None:
        super().__init__(name, "empty" if history is None else str(history))
        self._count, self._history = count, history

    def open(self) -> None:
        """Fill the home, and start the supervisor."""
        self._home = BenchHome.with_settings(durability="normal")
        if self._history is not None:
            print("  filling the home", file=sys.stderr, flush=True)
            self._history.fill(self._home)
        self._fifo = Fifo(self._home.project)
        self._home.up()
        self._launcher = self._home.launcher()
        self._home.drain(self._launcher, "warm-up", 100, COMMAND)

    def round(self, number: int) -> Figures:
        """Measure the rates and latencies of the other sections."""
        one = self._launcher.call(parent=f"one-{number}", count=self._count // 4, chunk=1, task=self._later())
        samples = Samples(self._home, self._launcher, self._fifo).take(f"samples-{number}", self._count // 20)
        return {
            "commands": self._home.drain(self._launcher, f"commands-{number}", self._count, COMMAND),
            "calls": self._home.drain(self._launcher, f"calls-{number}", 4 * self._count, CALL),
            "launches": len(one["ids"]) / (one["ended"] - one["began"]),
            "start, ms": samples["start p50, ms"],
            "event, ms": samples["event p50, ms"],
        }

    def _later(self) -> dict[str, object]:
        return self._home.task(command=["true"], delay_ms=86_400_000)

    def close(self) -> None:
        """Delete the home."""
        self._home.close()


class Start(Contestant):
    """An empty and a full home after all processes were killed: how much later the full one is up again."""

    def __init__(self, history: History) -> None:
        super().__init__("start", f"{history}, {RUNNING} running, all processes killed")
        self._history = history

    def open(self) -> None:
        """Create both homes."""
        self._empty = BenchHome.with_settings(durability="normal")
        self._full = BenchHome.with_settings(durability="normal", default_concurrency=RUNNING)
        self._history.fill(self._full)
        for home in (self._empty, self._full):
            home.up()
        self._launcher = self._full.launcher()

    def round(self, number: int) -> Figures:
        """Kill and restart both, and wait for the rescued tasks."""
        empty = self._restart(self._empty)
        parent = f"rescued-{number}"
        task = self._full.task(command=["sleep", "600"])
        self._launcher.call(parent=parent, count=RUNNING, chunk=RUNNING, task=task)
        _until(lambda: len(self._full.check("list", "--parent", parent, "--status", "running").splitlines()) > RUNNING)
        began = time.monotonic()
        full = self._restart(self._full)
        rescued = self._full.subscriber(parent).ends(RUNNING)[0] - began
        return {"empty, s": empty, "full, s": full, "rescued, s": rescued, "later, s": max(full, rescued) - empty}

    def _restart(self, home: BenchHome) -> float:
        for one in home.processes():
            if one.name.startswith("bb-"):
                with suppress(ProcessLookupError):  # a runner ends with its worker
                    os.kill(one.pid, signal.SIGKILL)
        began = time.monotonic()
        home.up()
        return time.monotonic() - began

    def close(self) -> None:
        """Delete both homes."""
        self._empty.close()
        self._full.close()


def _until(predicate: object) -> None:
    until = time.monotonic() + 60
    assert callable(predicate), "it is asked"
    while not predicate():
        if time.monotonic() > until:
            raise TimeoutError("they did not start within a minute")
        time.sleep(0.1)


def contestants(size: Size) -> list[Contestant]:
    """Return an empty home, a full one, and both after a crash."""
    history = History(size.pick(1_000_000, 20_000), size.pick(100_000, 5_000), size.pick(10_000, 200), 1_000)
    count = size.pick(1000, 200)
    return [Home("empty", count, None), Home("grown", count, history), Start(history)]


def _goals() -> tuple[Goal, ...]:
    rates = [
        Goal(f"{one}, grown", f"grown/{one}", 0.95, (f"empty/{one}",)) for one in ("commands", "calls", "launches")
    ]
    waits = [
        Goal(f"{what}, grown", f"grown/{one}, ms", 1 / 0.95, (f"empty/{one}, ms",), at_least=False)
        for what, one in (("launch to first instruction", "start"), ("end to its event", "event"))
    ]
    return (*rates, *waits, Goal("start and rescue, later by s", "start/later, s", 0.5, at_least=False))


SECTION = Section("growth", "a long history and a long queue, tasks/s and ms", contestants, _goals())
