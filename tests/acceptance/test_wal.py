"""The write-ahead log (WAL) is bounded, even while a process reads the database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.sqlite.file.database import CHECKPOINT_AT
from backburner.ipc.store.sqlite.maintenance import TRUNCATE_AT
from backburner.supervisor.supervision.maintenance import LONG_BACKLOG
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.places import ROOT
from tests.helpers.wait import eventually

#: A foreign program in the middle of a read transaction.
FOREIGN_READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/backburner.db", isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM tasks").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""

#: A process of backburner in the middle of a read transaction.
OWN_READER = """
import sys
from pathlib import Path
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.home import Home
with SqliteStore(Home(Path(sys.argv[1])), "normal").read() as transaction:
    transaction.fetch_value("get_last_seq")
    print("reads", flush=True)
    sys.stdin.read()
"""


@contextmanager
def reading(instance: Instance, program: str) -> Iterator[int]:
    """Run a reader that does not end its transaction, and yield its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(instance.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reads\n"
        yield process.pid
        process.kill()


def write(instance: Instance, size: int) -> None:
    """Write more than `size` bytes to the write-ahead log."""
    task = LaunchInput(command=("true",), stdin="x" * 900_000, delay_ms=3_600_000)
    for _ in range(size // 900_000 + 2):
        instance.queue.launch(task)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/locks shows which process reads")
@pytest.mark.parametrize("program", [FOREIGN_READER, OWN_READER], ids=["foreign reader", "own reader"])
def test_reader_that_pins_the_wal_is_named_and_the_wal_shrinks_after_it_exits(instance: Instance, program: str):
    instance.up(**BRISK, durability="normal")
    instance.result("true")
    with reading(instance, program) as pid:
        write(instance, LONG_BACKLOG)
        assert instance.store.wal_bytes() > LONG_BACKLOG
        eventually(lambda: f"process {pid}" in instance.home.log.read_text(), TIMEOUT, "the reader to be named")
        doctor = instance.run("doctor")
        assert (doctor.returncode, f"kill {pid}" in doctor.stdout) == (1, True)
    eventually(lambda: instance.store.wal_bytes() < CHECKPOINT_AT, TIMEOUT, "the log to be short")
    assert instance.home.log.read_text().count("write-ahead log has") == 1


def test_wal_stays_short_under_many_writes(instance: Instance):
    instance.up(**BRISK, durability="normal")
    longest = 0
    for _ in range(12):
        write(instance, CHECKPOINT_AT // 4)
        longest = max(longest, instance.store.wal_bytes())
        eventually(lambda: instance.store.wal_bytes() < TRUNCATE_AT, TIMEOUT)
    assert longest < LONG_BACKLOG / 2


def test_writers_keep_the_wal_short_without_a_supervisor(instance: Instance):
    for _ in range(300):
        instance.queue.launch(LaunchInput(command=("true",), stdin="x" * 100_000, delay_ms=3_600_000))
    assert instance.store.wal_bytes() < 3 * CHECKPOINT_AT
