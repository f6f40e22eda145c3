"""The tasks of all projects of the user in one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ....ipc.api.projects import Unreadable, each_home, project_name
from ....ipc.home import Home
from ....ipc.model.task import Task, TaskStatus
from ....ipc.store.interface import Store
from ....ipc.store.tasks import Tasks
from ..context import Context
from ..printing import note
from .task_table import sort_tasks


class Found(NamedTuple):
    """A task and the state directory in which it is."""

    home: Home
    task: Task

    @property
    def project(self) -> str:
        """Return the name of the project."""
        return project_name(self.home)

    def to_json(self) -> dict[str, Any]:
        """Return the task as lists show it, with its state directory."""
        return self.task.brief() | {"home": str(self.home.folder)}


def find_all(context: Context, look: Callable[[Tasks], Iterable[Task]]) -> Iterator[Found]:
    """Yield the tasks that `look` finds in each project. A project that cannot be read is reported on stderr."""

    def read(store: Store) -> list[Task]:
        return list(look(Tasks(store, context.config)))

    for one in each_home(context.home, read):
        if isinstance(one, Unreadable):
            note(f"{one.home.folder} was skipped: {one.error}")
        else:
            yield from (Found(one[0], task) for task in one[1])


def newest_first(found: Iterable[Found]) -> list[Found]:
    """Return the tasks in the order of their launches, the last one first."""
    return sorted(found, key=lambda one: one.task.queued_at, reverse=True)


def in_order(found: Iterable[Found]) -> list[Found]:
    """Return running tasks first, then pending ones, then ended ones, the last end first.

    The tasks of each project must come in this order already.
    """

    def rank(one: Found) -> tuple[int, float]:
        ended = one.task.completed_at
        if ended is not None:
            return 2, -ended.timestamp()
        return int(one.task.status is TaskStatus.PENDING), 0.0

    return sorted(found, key=rank)


def sorted_by(found: Iterable[Found], names: list[str]) -> list[Found]:
    """Return the tasks sorted by these columns."""
    by_task = {id(one.task): one for one in found}
    return [by_task[id(task)] for task in sort_tasks([one.task for one in by_task.values()], names)]
