"""Forgetting much keeps nobody waiting."""

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

#: How much there is to forget.
TASKS = 10_000

#: Seconds of work inside the gate that no step may exceed.
LONGEST_HOLD = 0.05

#: Ended tasks, each with its input, its output and its two events, of a time long past.
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

#: Takes the gate over and over; tells at the end how long it had to wait at most.
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
    """How long this process works each time it holds the gate, in seconds; who else has the processor counts not."""
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


def test_ten_thousand_tasks_are_forgotten_in_steps_that_hold_the_gate_for_a_moment_each(
    queue_db: QueueDatabase, holds: list[float], tmp_path: Path
):
    over = tmp_path / "over"
    command = [sys.executable, "-c", RIVAL, str(queue_db.home.lock("gate")), str(over)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
        pruning = Retention(queue_db.database, queue_db.config, clock.now())
        for _ in pruning.steps():
            clock.nap(0.001)
        over.touch()
        times, longest = map(float, rival.stdout.read().split())
    assert (pruning.done.tasks, pruning.done.events) == (TASKS, 2 * TASKS)
    told = f"held {max(holds) * 1000:.1f} ms at most; a rival took it {times:.0f} times, waited {longest} ms at most"
    sys.stdout.write(f"{told}\n")
    assert times > 0
    assert max(holds) < LONGEST_HOLD, told
