"""Questions about tasks, and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from .. import clock
from ..mistakes import Mistake
from ..validation import ListOf, Schema, Shape, Text
from .task import Task, TaskStatus

T = TypeVar("T")

_TIME = r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})"


class TaskState(NamedTuple):
    """The fields of a task that decisions need."""

    number: int
    status: TaskStatus
    claim: int | None
    verdict: str | None
    progress: str | None


class Filter(NamedTuple):
    """The conditions for the tasks of a list. A task must have one of the `statuses`, if any, and all of the `tags`.

    `key` is a key, or a pattern whose keys share a limit. `text` occurs in the description, command, call or prompt.
    Only the newest 10 000 tasks are searched for it. `since` is a time in milliseconds since 1970: the task was
    queued, started or ended then or later.
    `cursor` is the `next` of the previous page. A limit of None means all tasks. A page ends after `room` bytes.
    """

    statuses: Sequence[TaskStatus] = ()
    parent: str | None = None
    model: str | None = None
    limit: int | None = 100
    cursor: str | None = None
    room: int = 2**62
    tags: Sequence[str] = ()
    key: str | None = None
    agent: str | None = None
    text: str | None = None
    since: int | None = None

    @classmethod
    def of_parameters(cls, params: Mapping[str, Any], **more: Any) -> Filter:
        """Return the filter of checked parameters of `list`. `more` are fields of the filter."""
        since = params.get("since")
        return cls(
            statuses=tuple(map(TaskStatus, params.get("status") or ())),
            model=params.get("model"),
            cursor=params.get("cursor"),
            tags=params.get("tags") or (),
            key=params.get("concurrencyKey"),
            agent=params.get("agent"),
            text=params.get("text"),
            since=None if since is None else clock.parse(since),
        )._replace(**more)


class OneOrMore(Shape[list[T]]):
    """A value of a shape, or a list of such values. Its normal form is a list."""

    def __init__(self, shape: Shape[T]) -> None:
        """Accept `shape`, and a list of it."""
        self.shape, self.list = shape, ListOf(shape)
        self.expected = f"{shape.expected}, or a list of these"

    def mismatch(self, value: object) -> str | None:
        """See `Shape`."""
        return None if isinstance(value, list | tuple) or self.shape.fits(value) else self.expected

    def fits(self, value: object) -> bool:
        """See `Shape`."""
        return self.shape.fits(value) or self.list.fits(value)

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        """See `Shape`."""
        shape: Shape[Any] = self.list if isinstance(value, list | tuple) else self.shape
        if not self.fits(value):
            yield from shape.iter_mistakes(value, field)

    def normal(self, value: object) -> list[T]:
        """See `Shape`."""
        return self.list.normal(value if isinstance(value, list | tuple) else [value])

    def schema(self) -> Schema:
        """See `Shape`."""
        return {"anyOf": [self.shape.schema(), self.list.schema()]}


class Moment(Text):
    """A time with its zone, in ISO 8601."""

    def __init__(self) -> None:
        """Accept such a time."""
        expected = "a time with its zone: ISO 8601, such as 2026-01-31T09:30:00Z"
        super().__init__(pattern=_TIME, expected=expected)

    def mismatch(self, value: object) -> str | None:
        """See `Shape`."""
        return super().mismatch(value) or (None if _is_time(str(value)) else self.expected)


def _is_time(text: str) -> bool:
    try:
        clock.parse(text)
    except (ValueError, OverflowError):  # no such day, or a year that cannot be stored
        return False
    return True


class TaskRows(NamedTuple):
    """Tasks of a list, newest first, and the number of the last. `is_cut` is true if `room` bytes ended the page."""

    tasks: list[Task]
    last: int
    is_cut: bool


class StoredTask(NamedTuple):
    """A task, and its columns by name, including the columns of its input."""

    task: Task
    columns: Mapping[str, Any]
