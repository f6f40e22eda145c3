"""The program and what it stands on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from ipc.config import ConfigMistake
from ipc.database import sqlite_version
from supervisor.doctor.finding import NOTE, Finding
from supervisor.lookalikes import lookalikes

#: The releases of SQLite with the WAL-reset bug: from the first to the last, but for those it was mended in.
FIRST_AFFECTED, LAST_AFFECTED = (3, 7, 0), (3, 51, 2)
MENDED = ((3, 44, 6), (3, 50, 7))

#: The oldest release that has what the schema uses.
OLDEST = (3, 37, 0)


def check_sqlite(version: str | None = None) -> Iterator[Finding]:
    """Whether SQLite is too old, or has the bug that the write gate keeps away."""
    said = version or sqlite_version()
    numbers = tuple(map(int, said.split(".")))
    if numbers < OLDEST:
        why = "The database uses what older releases do not have."
        yield Finding("sqlite", f"SQLite is {said}, older than 3.37.", why, f"upgrade the SQLite of {sys.executable}")
    elif FIRST_AFFECTED <= numbers <= LAST_AFFECTED and numbers not in MENDED:
        what = f"SQLite {said} has the WAL-reset bug (3.7.0 to 3.51.2, but for 3.44.6 and 3.50.7)."
        why = "backburner's write gate keeps it away; programs that write into the database themselves bypass the gate."
        yield Finding("sqlite", what, why, "write only by way of backburner, or upgrade SQLite", NOTE)


def check_lookalikes() -> Iterator[Finding]:
    """Whether another distribution brings packages of our names."""
    for name in lookalikes():
        what = f"The distribution {name} has an import package named as one of backburner's."
        why = "pip merges the two without a word; up refuses to start."
        yield Finding("names", what, why, "pipx install backburner  (an environment of its own)")


def check_configuration(mistakes: Sequence[ConfigMistake]) -> Iterator[Finding]:
    """What is wrong with the configuration files."""
    for mistake in mistakes:
        why = "A supervisor does not start with it, and reload refuses it."
        yield Finding("configuration", str(mistake), why, "backburner config check")
