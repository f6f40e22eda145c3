"""How a database of an older release, or an empty one, becomes one of this release."""

from __future__ import annotations

import uuid

from sqlite_utils import Database as Tables
from sqlite_utils import Migrations

from ..sql import statement

migrations = Migrations("backburner")


@migrations()
def first_schema(tables: Tables) -> None:
    """Tasks, event log, processes."""
    _run_all(tables, "schema_1")
    tables.execute(statement("set_setting"), {"name": "log", "value": str(uuid.uuid4())})


@migrations()
def second_schema(tables: Tables) -> None:
    """Sessions that change their id."""
    _run_all(tables, "schema_2")


@migrations()
def third_schema(tables: Tables) -> None:
    """Tasks that go on in the session of another."""
    _run_all(tables, "schema_3")


@migrations()
def fourth_schema(tables: Tables) -> None:
    """Progress as events."""
    _run_all(tables, "schema_4")


@migrations()
def fifth_schema(tables: Tables) -> None:
    """Add held tasks; drop the column that names a task's batch."""
    _run_all(tables, "schema_5")


@migrations()
def sixth_schema(tables: Tables) -> None:
    """Rename tables and columns."""
    _run_all(tables, "schema_6")


def _run_all(tables: Tables, name: str) -> None:
    """Run a file of statements set apart by blank lines; `executescript` would commit the transaction first."""
    for text in statement(name).split("\n\n"):
        tables.execute(text)
