"""Questions about tasks, and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .task import Task, TaskStatus


class TaskState(NamedTuple):
    """The fields of a task that decisions need."""

    number: int
    status: TaskStatus
    claim: int | None
    verdict: str | None
    progress: str | None


class Filter(NamedTuple):
    """The conditions for the tasks of a list. A task must have all of the `tags`.

    `cursor` is the `next` of the previous page. A limit of None means all tasks. A page ends after `room` bytes.
    """

    status: TaskStatus | None = None
    parent: str | None = None
    model: str | None = None
    limit: int | None = 100
    cursor: str | None = None
    room: int = 2**62
    tags: Sequence[str] = ()


class TaskRows(NamedTuple):
    """Tasks of a list, newest first, and the number of the last. `is_cut` is true if `room` bytes ended the page."""

    tasks: list[Task]
    last: int
    is_cut: bool


class StoredTask(NamedTuple):
    """A task, and its columns by name, including the columns of its input."""

    task: Task
    columns: Mapping[str, Any]
