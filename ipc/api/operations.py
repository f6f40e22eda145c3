"""The operations of `BackgroundManager` that have the names of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from ..bus.client import Client
from ..config.settings import BackgroundConfig
from ..errors import HeldByWorker, InvalidInput
from ..home import Home
from ..mistakes import describe
from ..model.duration import Duration, to_milliseconds
from ..model.edit import TaskEdit
from ..model.query import Filter
from ..model.task import ID, Task, TaskStatus
from ..validation import Integer, ListOf, Nullable, Record, Text
from . import control
from .waiting import wait_until_gone

if TYPE_CHECKING:
    from ..store.groups import Groups
    from .handle import Handle

#: A task, or its ID. A unique prefix of an ID will do, with or without `bg-`.
TaskRef = str | Task

#: One task, or several.
TaskRefs = TaskRef | Iterable[TaskRef]

_PREFIX = Text(max_bytes=1024, non_empty=True)
_KEY = Text(max_bytes=1024, non_empty=True)
_LIMITS: dict[object, int | None] = {"default": None, "unlimited": 0}
_NUMBER = Integer(0, 1_000_000)


_FILTERS = Record(
    "list",
    {
        **{name: Nullable(_KEY) for name in ("parent", "key", "agent", "model", "text")},
        "tags": ListOf(_KEY),
        "limit": Nullable(_NUMBER),
    },
)


class ListFilters(TypedDict, total=False):
    """The keyword arguments of `list`. None is the same as absent."""

    parent: str | None
    key: str | None
    agent: str | None
    model: str | None
    tags: Sequence[str]
    text: str | None
    since: datetime | None
    limit: int | None


class EditFields(TypedDict, total=False):
    """The keyword arguments of `edit`. None is the same as absent."""

    description: str | None
    priority: int | None
    concurrency_key: str | None
    tags: Sequence[str] | None
    delay: Duration | None
    delay_ms: int | None
    timeout: Duration | None
    timeout_ms: int | None
    retries: int | None


class Operations:
    """Operations on the tasks of a state directory. Each is named like its command."""

    _config: BackgroundConfig
    _home: Home

    @property
    def _handle(self) -> Handle:
        raise NotImplementedError

    def get(self, task: TaskRef) -> Task:
        """Return a task as it is now. Raises NotFound, Ambiguous, InvalidInput."""
        return self._handle.queue.get(self._id_of(task))

    def list(
        self, status: TaskStatus | str | Iterable[TaskStatus | str] | None = None, **filters: Unpack[ListFilters]
    ) -> list[Task]:
        """Return tasks, newest first: those that have one of the statuses and pass all filters.

        `text` occurs in the description, command, call or prompt of one of the newest 10 000 tasks. `since` selects
        tasks that were queued, started or ended then or later. A task must have all of the `tags`. Raises InvalidInput.
        """
        given = _FILTERS.check({name: value for name, value in filters.items() if name != "since"})
        which = Filter(statuses=_statuses(status), since=_since(filters.get("since")), **{"limit": None, **given})
        return self._handle.queue.with_inputs(which)[::-1]

    def cancel(self, task: TaskRef) -> Task:
        """Cancel a pending or running task, and return it when all its processes have ended.

        Raises NotFound, MoveNotAllowed, Temporary.
        """
        id = self._change(self._id_of(task), self._handle.queue.cancel).id
        wait_until_gone(self._handle.queue, [id])
        return self.get(id)

    def retry(self, task: TaskRef) -> Task:
        """Queue a failed or cancelled task again under its ID. Raises NotFound, MoveNotAllowed."""
        return self._change(self._id_of(task), self._handle.queue.retry)

    def edit(self, task: TaskRef, **fields: Unpack[EditFields]) -> Task:
        """Change a pending task, and return it.

        An empty description or tags clears the value. A delay begins now, and 0 means no delay or no timeout. Raises
        InvalidInput with the `field`, NotFound, MoveNotAllowed.
        """
        edit = TaskEdit.from_python(to_milliseconds(fields))
        return self._change(self._id_of(task), lambda id: self._handle.queue.edit(id, edit))

    def remove(self, *tasks: TaskRefs) -> None:
        """Delete ended tasks with their output, all or none. Their events stay. Raises NotFound, MoveNotAllowed."""
        self._handle.queue.remove(list(dict.fromkeys(map(self._id_of, each_ref(tasks)))))
        self._handle.wake()

    def progress(self, task: TaskRef, text: str) -> Task:
        """Record the progress of a running task. Raises NotFound, MoveNotAllowed, InvalidInput."""
        checked = Text().check(text, "text")
        return self._change(self._id_of(task), lambda id: self._handle.queue.progress(id, checked))

    def pause(self, key: str) -> dict[str, Any]:
        """Stop starting tasks of a key, or of a pattern of keys, until `resume`. Return the key's row of `status`."""
        return self._change_group(lambda groups: groups.pause(_KEY.check(key, "key")))

    def resume(self, key: str) -> dict[str, Any]:
        """Start tasks of a key again. Return the key's row of `status`."""
        return self._change_group(lambda groups: groups.resume(_KEY.check(key, "key")))

    def limit(self, key: str, limit: int | Literal["default", "unlimited"] | None = None) -> dict[str, Any]:
        """Set how many tasks of a key may run at once, and return the key's row of `status`.

        0 is unlimited. Without a limit, nothing changes. Raises InvalidInput, HeldByWorker.
        """
        _KEY.check(key, "key")
        if limit is None:
            return self._change_group(lambda groups: groups.limits().group(key))
        number = _LIMITS[limit] if isinstance(limit, str) and limit in _LIMITS else _NUMBER.check(limit, "limit")
        return self._change_group(lambda groups: groups.limit(key, number))

    def flush(self, parent: str | None = None) -> None:
        """Send the notifications that wait, of one session or of all. Raises NoSupervisor."""
        params = {} if parent is None else {"parentSessionId": _KEY.check(parent, "parent")}
        with Client(self._home) as client:
            client.call("flush", **params)

    def status(self) -> dict[str, Any]:
        """Return the processes, keys and log of the state directory, as `status --json` prints them."""
        from ..store.status import status

        return status(self._handle.store)

    def _id_of(self, task: TaskRef) -> str:
        """Return the ID of a task, or the full ID for a prefix. Raises NotFound, Ambiguous, InvalidInput."""
        if isinstance(task, Task):
            return task.id
        if not isinstance(task, str):
            raise InvalidInput(f"id: expected a task, or its ID as text, got {describe(task)}", field="id")
        if ID.fits(task):
            return task
        return self._handle.queue.find(_PREFIX.check(task, "id"))

    def _change(self, id: str, change: Callable[[str], Task]) -> Task:
        """Change a task. A worker that holds it may be dead while no supervisor is running."""
        try:
            task = change(id)
        except HeldByWorker:
            control.rescue(self._home)
            task = change(id)
        self._handle.wake()
        return task

    def _change_group(self, change: Callable[[Groups], str]) -> dict[str, Any]:
        from ..store.groups import Groups
        from ..store.status import key_document

        groups = Groups(self._handle.store, self._config)
        return key_document(groups.row(change(groups)))


def each_ref(tasks: Iterable[TaskRefs]) -> Iterator[TaskRef]:
    """Yield tasks one by one. Each item is a task, its ID, or several of them."""
    for item in tasks:
        if isinstance(item, Iterable) and not isinstance(item, str):
            yield from item
        else:
            yield item


def _since(since: object) -> int | None:
    if since is None:
        return None
    if not isinstance(since, datetime):
        raise InvalidInput(f"since: expected a datetime, got {describe(since)}", field="since")
    return round(since.timestamp() * 1000)


def _statuses(status: TaskStatus | str | Iterable[TaskStatus | str] | None) -> tuple[TaskStatus, ...]:
    given = () if status is None else (status,) if isinstance(status, str) else tuple(status)
    try:
        return tuple(map(TaskStatus, given))
    except ValueError as error:
        raise InvalidInput(f"status: expected one of {', '.join(TaskStatus)} ({error})", field="status") from None
