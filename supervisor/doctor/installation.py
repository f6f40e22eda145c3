"""The program and what it stands on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from ...ipc.config.settings import ConfigMistake
from ...ipc.machine.distribution import DISTRIBUTION, INSTALL_COMMAND
from ...ipc.store.sqlite.database import sqlite_version
from .finding import NOTE, Finding

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


def check_name_clash() -> Iterator[Finding]:
    """Find other distributions in this environment that install an import package called backburner."""
    from importlib.metadata import packages_distributions

    for name in sorted({*packages_distributions().get("backburner", ())} - {DISTRIBUTION}):
        what = f"The distribution {name} also installs an import package called backburner."
        why = "pip overwrites the files of one with those of the other."
        yield Finding("names", what, why, f"pip uninstall {name}, or install backburner by itself: {INSTALL_COMMAND}")


def check_configuration(mistakes: Sequence[ConfigMistake]) -> Iterator[Finding]:
    """What is wrong with the configuration files."""
    for mistake in mistakes:
        why = "A supervisor does not start with it, and reload refuses it."
        yield Finding("configuration", str(mistake), why, "backburner config check")
