"""The home of an older release: its schema, tasks in every state, and processes that hold its locks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlite_utils import Database as Tables

from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from backburner.ipc.store.sqlite.file.migrations import migrations
from tests.helpers.places import ROOT

#: The last schema of release 0.1.
OLD_SCHEMA = 4

#: Takes locks, prints a line, and exits when its stdin ends.
HOLD = """
import sys
from pathlib import Path
from backburner.ipc.machine.lock import Lock
assert all(Lock(Path(path)).acquire() for path in sys.argv[1:])
print("held", flush=True)
sys.stdin.read()
"""

#: The statements of the old release: a task in each state, with everything that belongs to it.
HISTORY = """
INSERT INTO settings VALUES ('boot', 'an older boot'), ('max_workers', '4');
INSERT INTO groups (name, most, live) VALUES ('build', 2, 2);
INSERT INTO keys VALUES ('build', 'build');
INSERT INTO processes (role, pid, ticks, boot, pidns, since) VALUES ('worker', 1, 1, 'an older boot', 'host', 1);

INSERT INTO tasks (number, id, parent, agent, key, grp, ready, queued_at, retries, max_attempts) VALUES
  (1, 'bg-completed', 'p', 'command', 'build', 'build', 1, 10, 0, 1),
  (2, 'bg-error', 'p', 'command', 'build', 'build', 1, 11, 0, 1),
  (3, 'bg-cancelled', 'p', 'command', 'build', 'build', 1, 12, 0, 1),
  (4, 'bg-running', 'p', 'command', 'build', 'build', 1, 13, 0, 1),
  (5, 'bg-pending', 'q', 'command', 'build', 'build', 1, 14, 2, 3),
  (6, 'bg-waiting', 'q', 'command', 'build', 'build', 0, 15, 0, 1);
INSERT INTO inputs (task, cwd, command, env) SELECT number, '/tmp', '["true"]', '{"A": "b"}' FROM tasks;
INSERT INTO dependencies (blocker, task, any_end) VALUES (5, 6, 1);

UPDATE tasks SET status = 'running', slot = number, claim = number, owner = 1, attempt = 1, started_at = 20
  WHERE number IN (1, 2, 4);
UPDATE tasks SET progress = 'half', pid = 1 WHERE number = 4;
UPDATE tasks SET status = 'completed', slot = NULL, result = 'done', exit_code = 0, completed_at = 30 WHERE number = 1;
UPDATE tasks SET status = 'error', slot = NULL, error = 'failed', error_kind = 'exit', exit_code = 3, completed_at = 31
  WHERE number = 2;
INSERT INTO outputs VALUES (1, 'stdout', 1, x'646f6e65');
INSERT INTO batches (parent, at, body, seq) VALUES ('p', 40, '{"count": 2}', 9);
UPDATE tasks SET status = 'cancelled', completed_at = 50 WHERE number = 3;

INSERT INTO cursors VALUES ('p', 'default', 2);
INSERT INTO truncations VALUES ('*', 1);
INSERT INTO heirs VALUES ('old session', 'p');
INSERT INTO clients VALUES ('1 1 boot host', 'p', 60);
UPDATE sqlite_sequence SET seq = 4 WHERE name = 'claims';
"""


def create_older_home(home: Home) -> None:
    """Create the home's database as release 0.1 did, and fill it."""
    home.prepare()
    with closing(sqlite3.connect(home.database, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        tables = Tables(raw, execute_plugins=False)
        migrations.apply(tables, stop_before=migrations.pending(tables)[OLD_SCHEMA].name)
        raw.executescript(HISTORY)
        raw.execute(f"PRAGMA user_version = {OLD_SCHEMA}")


def restore_older_home(home: Home) -> None:
    """Create a database from the dump of one that the program of release 0.1 wrote.

    Its supervisor ran four of six tasks, was given limits, a pause and a successor of a session, and was stopped by
    `down --now --requeue`.
    """
    home.prepare()
    dump = (ROOT / "tests" / "data" / "home-0.1.sql").read_text()
    with closing(sqlite3.connect(home.database, isolation_level=None)) as raw:
        raw.executescript(dump.replace("/home/me/project", str(home.folder.parent)))
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute(f"PRAGMA user_version = {OLD_SCHEMA}")


def contents(home: Home) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables, in no particular order."""
    with closing(sqlite3.connect(home.database)) as raw:
        raw.row_factory = sqlite3.Row
        names = [row[0] for row in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: [dict(row) for row in raw.execute(f"SELECT * FROM {name}")] for name in names}


def schema_of(home: Home) -> int:
    """Return the version of the database's schema."""
    with closing(sqlite3.connect(home.database)) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def process(home: Home, *locks: str) -> Iterator[int]:
    """Run a process that holds these locks of a home, and yield its pid."""
    command = [sys.executable, "-c", HOLD, *(str(home.lock(name)) for name in locks)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid
        holder.communicate(b"")


def register(home: Home, role: str, pid: int, **changes: object) -> None:
    """Enter a living process in the table; `changes` are fields of its identity."""
    identity = Identity.of(pid)
    assert identity is not None, "it lives"
    row = {"role": role, **vars(identity), **changes}
    with closing(sqlite3.connect(home.database, isolation_level=None)) as raw:
        raw.execute(
            "INSERT INTO processes (role, pid, ticks, boot, pidns, since)"
            " VALUES (:role, :pid, :ticks, :boot, :pidns, 1)",
            row,
        )
