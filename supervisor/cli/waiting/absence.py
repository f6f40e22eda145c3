"""What the commands that wait do while no supervisor is running."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ....ipc import clock
from ....ipc.errors import NoSupervisor
from ....ipc.machine.presence import Presence
from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..printing import note
from ..text import no_supervisor

#: The seconds in which a supervisor must come. On a terminal a command waits longer, because a person can end it.
PATIENCE = 10.0

#: Seconds between two checks of a command that waits: while no supervisor is running, and while one is running.
INTERVAL, LONG_INTERVAL = 0.5, 2.0

#: The help of `--wait-for-supervisor`.
HELP = "Wait for a supervisor, however long it takes. [default: on a terminal; elsewhere exit with 4 after 10 s]"


class Absence:
    """The time since which no supervisor has been running, while tasks need one."""

    def __init__(self, context: Context, is_patient: bool) -> None:
        """Wait for a supervisor without limit if `is_patient` is true, or if stderr is a terminal."""
        self._context = context
        self._is_patient = is_patient or sys.stderr.isatty()
        self._presence = Presence(context.home)
        self._since: float | None = None
        #: True once the absence was reported on stderr.
        self.is_reported = False
        #: Called before the report.
        self.prepare: Callable[[], object] = lambda: None

    def check(self, tasks: Callable[[], Iterable[Task]]) -> None:
        """Report once that no supervisor is running. Raises NoSupervisor if some of the tasks need one for too long.

        `tasks` is called only while no supervisor is running.
        """
        if self._presence.is_held("supervisor"):
            self._since = None
            return
        if not self.is_reported:
            self.is_reported = True
            self.prepare()
            note(f"waiting: {no_supervisor(self._context)}")
        if not any(map(_needs_supervisor, tasks())):
            self._since = None
        elif self._since is None:
            self._since = clock.monotonic()
        elif not self._is_patient and clock.monotonic() - self._since >= PATIENCE:
            raise NoSupervisor(
                f"no supervisor was started for {self._context.home.folder} within {PATIENCE:g} s;"
                " start one: backburner up --detach"
            )

    @property
    def interval(self) -> float:
        """Return the seconds after which to check again."""
        return LONG_INTERVAL if self._since is None else INTERVAL


def _needs_supervisor(task: Task) -> bool:
    """Return True if a task cannot continue without a supervisor. A running task has its worker."""
    return task.status is TaskStatus.PENDING and task.agent != "external"
