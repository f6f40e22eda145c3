"""The migrations from an empty database, or the database of an older release, to the schema of this release."""

from __future__ import annotations

import uuid

from sqlite_utils import Database as Tables
from sqlite_utils import Migrations

from ..sql import statement

migrations = Migrations("backburner")


@migrations()
def first_schema(tables: Tables) -> None:
    """Create tasks, the event log and the process table."""
    _run_all(tables, "schema_1")
    tables.execute(statement("set_setting"), {"name": "log", "value": str(uuid.uuid4())})


@migrations()
def second_schema(tables: Tables) -> None:
    """Add successors of sessions, and clients."""
    _run_all(tables, "schema_2")


@migrations()
def third_schema(tables: Tables) -> None:
    """Add the column `resumes` for tasks that continue the session of another task."""
    _run_all(tables, "schema_3")


@migrations()
def fourth_schema(tables: Tables) -> None:
    """Add events of progress."""
    _run_all(tables, "schema_4")


@migrations()
def fifth_schema(tables: Tables) -> None:
    """Add held tasks and parked workers; drop the column with a task's batch."""
    _run_all(tables, "schema_5")


@migrations()
def sixth_schema(tables: Tables) -> None:
    """Rename tables and columns; add tags."""
    _run_all(tables, "schema_6")


@migrations()
def seventh_schema(tables: Tables) -> None:
    """Add columns for the environment of a task and for notifications of people."""
    _run_all(tables, "schema_7")


@migrations()
def eighth_schema(tables: Tables) -> None:
    """Add events of changed tasks."""
    _run_all(tables, "schema_8")


def _run_all(tables: Tables, name: str) -> None:
    """Run the statements of a file, separated by blank lines. `executescript` would commit the transaction."""
    for text in statement(name).split("\n\n"):
        tables.execute(text)
