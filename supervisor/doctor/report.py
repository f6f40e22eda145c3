"""All checks, in the order in which their findings matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from ...ipc.config.settings import ConfigMistake
from ...ipc.errors import BackburnerError, Damaged
from ...ipc.home import Home
from ...ipc.store.applied_config import applied_configuration
from ...ipc.store.sqlite.database import SCHEMA, Inspection
from . import installation, processes, storage, tasks
from .finding import Finding

Check = Callable[[Home], Iterator[Finding]]

#: What needs nothing but the folder.
OF_HOME: Sequence[Check] = (
    storage.check_permissions,
    storage.check_space,
    storage.check_leftovers,
    processes.check_gate,
    processes.check_roles,
)

OF_DATABASE = (storage.check_log_size, processes.check_orphans, processes.check_strays)
OF_WORK = (tasks.check_waiting, tasks.check_limits, tasks.check_batches, tasks.check_readers, tasks.check_clock)


def examine(home: Home, mistakes: Sequence[ConfigMistake]) -> list[Finding]:
    """Everything that is wrong, or good to know, with a home and its program. Writes nothing, wherever it is."""
    found = [
        *installation.check_configuration(mistakes),
        *installation.check_name_clash(),
        *installation.check_sqlite(),
    ]
    if not home.folder.exists():
        return found
    unfit = list(storage.check_home(home))
    if unfit:
        return [*unfit, *found]
    return [*_examine_database(home), *_safely("home", OF_HOME, home), *found]


def _examine_database(home: Home) -> list[Finding]:
    if not home.database.exists():
        return []
    try:
        database = Inspection(home)
    except BackburnerError as error:
        return [_unreadable(error)]
    try:
        return _with_database(database)
    except BackburnerError as error:
        return [_unreadable(error)]
    finally:
        database.close()


def _with_database(database: Inspection) -> list[Finding]:
    found = list(storage.check_integrity(database))
    version = database.version()
    if version > SCHEMA:
        what = f"The database has schema {version}, this program knows {SCHEMA}."
        return [*found, Finding("schema", what, "It was written by a newer backburner.", "upgrade backburner")]
    if version < SCHEMA:  # what follows reads with the statements of this one
        return found
    around = tasks.Work(database, applied_configuration(database))
    return [
        *found,
        *chain.from_iterable(check(database) for check in OF_DATABASE),
        *chain.from_iterable(check(around) for check in OF_WORK),
    ]


def _unreadable(error: BackburnerError) -> Finding:
    if isinstance(error, Damaged):
        return Finding("integrity", str(error), "No task can be read.", "backburner salvage")
    return Finding("database", str(error), "No task can be read.", "see the other findings")


def _safely(name: str, checks: Sequence[Check], home: Home) -> Iterator[Finding]:
    """What the checks find; one that may not even look has found something, too."""
    for check in checks:
        try:
            yield from check(home)
        except OSError as error:
            what = f"{error.filename or home.folder} cannot be looked at: {error.strerror}."
            yield Finding(name, what, "Nobody else can use it either.", f"ls -la {home.folder}")
