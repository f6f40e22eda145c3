"""Run all checks and return their findings in order of importance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...ipc.config.settings import ConfigMistake
from ...ipc.home import Home
from ...ipc.machine import proc
from . import installation, processes, storage, tasks
from .finding import Finding

#: The checks that need only the state directory.
HOME_CHECKS: Sequence[Callable[[Home], Iterator[Finding]]] = (
    storage.check_permissions,
    storage.check_space,
    storage.check_leftovers,
    processes.check_gate,
    processes.check_roles,
)

#: The checks that need a readable database.
CONTENTS_CHECKS: Sequence[Callable[[storage.Contents], Iterator[Finding]]] = (
    storage.check_log_size,
    storage.check_outputs,
    processes.check_orphans,
    processes.check_strays,
    tasks.check_waiting,
    tasks.check_limits,
    tasks.check_batches,
    tasks.check_readers,
    tasks.check_clock,
)


def examine(home: Home, mistakes: Sequence[ConfigMistake]) -> list[Finding]:
    """Return the problems of the state directory and the program, and notes about them. Writes nothing."""
    findings = [*installation.check_configuration(mistakes), *installation.check_name_clash(), *storage.check_engine()]
    if not home.folder.exists():
        return findings
    if not proc.is_readable():
        return [*processes.report_missing_proc(), *findings]
    unusable = list(storage.check_home(home))
    if unusable:
        return [*unusable, *findings]
    return [*storage.check_database(home, CONTENTS_CHECKS), *_check_home(home), *findings]


def _check_home(home: Home) -> Iterator[Finding]:
    for check in HOME_CHECKS:
        try:
            yield from check(home)
        except OSError as error:
            what = f"cannot read {error.filename or home.folder}: {error.strerror}."
            yield Finding("home", what, "Other commands cannot use it either.", f"ls -la {home.folder}")
