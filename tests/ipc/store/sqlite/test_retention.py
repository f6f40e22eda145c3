"""A prune of many tasks does not keep other writers waiting."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.store.retention import Retention
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
from tests.helpers.places import ROOT
from tests.helpers.queue_db import QueueDatabase

#: The number of old tasks.
TASKS = 10_000

#: Seconds of work during which a step may hold the gate.
LONGEST_HOLD = 0.05

#: Old ended tasks, each with its input, its output and its two events.
HISTORY = (
    """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :tasks)
    INSERT INTO tasks (number, id, agent, key, limit_group, status, ready, queued_at, started_at, completed_at, attempt,
      retries, max_attempts, claim)
    SELECT i, 'bg-' || i, 'command', 'k' || i % 50, 'k' || i % 50, 'completed', 0, 1000, 1001, 1002, 1, 0, 1, i
    FROM n""",
    "INSERT INTO inputs (task, cwd, command, env) SELECT number, '/', '[\"true\"]', hex(randomblob(500)) FROM tasks",
    "INSERT INTO outputs SELECT claim, 'stdout', number, randomblob(1000) FROM tasks",
    """INSERT INTO events (type, at, body) SELECT 'background_task_completed', 1002, json_object('taskId', id) FROM
    (SELECT id FROM tasks UNION ALL SELECT id FROM tasks)""",
)

#: Takes the gate repeatedly; prints how many times, and the longest wait.
RIVAL = """
import sys
from pathlib import Path
from backburner.ipc import clock
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
gate, longest, times = WriteGate.of(Path(sys.argv[1])), 0.0, 0
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    began = clock.monotonic()
    with gate:
        longest, times = max(longest, clock.monotonic() - began), times + 1
    clock.nap(0.002)
print(f"{times} {longest * 1000:.1f}")
"""


@pytest.fixture
def queue_db(home: Path):
    with QueueDatabase(home, retention_days=30) as queue_db:
        with closing(sqlite3.connect(queue_db.home.database)) as raw, raw:
            for statement in HISTORY:
                raw.execute(statement, {"tasks": TASKS} if ":tasks" in statement else {})
        yield queue_db


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the seconds of processor time for which this process holds the gate each time."""
    found: list[float] = []
    acquire, release = WriteGate.acquire, WriteGate.release
    began = 0.0

    def timed_acquire(gate: WriteGate) -> None:
        nonlocal began
        acquire(gate)
        began = time.thread_time()

    def timed_release(gate: WriteGate) -> None:
        found.append(time.thread_time() - began)
        release(gate)

    monkeypatch.setattr(WriteGate, "acquire", timed_acquire)
    monkeypatch.setattr(WriteGate, "release", timed_release)
    return found


def test_prune_of_many_tasks_never_holds_the_gate_long(queue_db: QueueDatabase, holds: list[float], tmp_path: Path):
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", RIVAL, str(queue_db.home.lock("gate")), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
        pruning = Retention(queue_db.store, queue_db.config, clock.now())
        for _ in pruning.steps():
            clock.nap(0.001)
        stop.touch()
        times, longest = map(float, rival.stdout.read().split())
    assert (pruning.done.tasks, pruning.done.events) == (TASKS, 2 * TASKS)
    summary = f"held {max(holds) * 1000:.1f} ms at most; a rival took it {times:.0f} times, waited {longest} ms at most"
    sys.stdout.write(f"{summary}\n")
    assert times > 0
    assert max(holds) < LONGEST_HOLD, summary
