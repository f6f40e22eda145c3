"""The operations of `AsyncBackgroundManager` that have the names of commands, and calls on other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar, Unpack

from ..model.task import Task, TaskStatus
from .manager import BackgroundManager
from .operations import EditFields, ListFilters, TaskRef, TaskRefs

T = TypeVar("T")

# In the class, the method `list` hides the type.
TaskList = list[Task]


class AsyncOperations:
    """The operations of a manager as coroutines."""

    _manager: BackgroundManager

    async def get(self, task: TaskRef) -> Task:
        """See `BackgroundManager.get`."""
        return await asyncio.to_thread(self._manager.get, task)

    async def list(
        self, status: TaskStatus | str | Iterable[TaskStatus | str] | None = None, **filters: Unpack[ListFilters]
    ) -> TaskList:
        """See `BackgroundManager.list`."""
        return await asyncio.to_thread(partial(self._manager.list, status, **filters))

    async def cancel(self, task: TaskRef) -> Task:
        """See `BackgroundManager.cancel`."""
        return await in_thread(partial(self._manager.cancel, task))

    async def retry(self, task: TaskRef) -> Task:
        """See `BackgroundManager.retry`."""
        return await asyncio.to_thread(self._manager.retry, task)

    async def edit(self, task: TaskRef, **fields: Unpack[EditFields]) -> Task:
        """See `BackgroundManager.edit`."""
        return await asyncio.to_thread(partial(self._manager.edit, task, **fields))

    async def remove(self, *tasks: TaskRefs) -> None:
        """See `BackgroundManager.remove`."""
        await asyncio.to_thread(self._manager.remove, *tasks)

    async def progress(self, task: TaskRef, text: str) -> Task:
        """See `BackgroundManager.progress`."""
        return await asyncio.to_thread(self._manager.progress, task, text)

    async def pause(self, key: str) -> dict[str, Any]:
        """See `BackgroundManager.pause`."""
        return await in_thread(partial(self._manager.pause, key))

    async def resume(self, key: str) -> dict[str, Any]:
        """See `BackgroundManager.resume`."""
        return await asyncio.to_thread(self._manager.resume, key)

    async def limit(self, key: str, limit: int | Literal["default", "unlimited"] | None = None) -> dict[str, Any]:
        """See `BackgroundManager.limit`."""
        return await in_thread(partial(self._manager.limit, key, limit))

    async def flush(self, parent: str | None = None) -> None:
        """See `BackgroundManager.flush`."""
        await in_thread(partial(self._manager.flush, parent))

    async def status(self) -> dict[str, Any]:
        """See `BackgroundManager.status`."""
        return await asyncio.to_thread(self._manager.status)


async def in_thread(function: Callable[[], T]) -> T:
    """Call a slow function on a separate thread, because the loop has only a few threads."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(outcome.set_result, function())
        except BaseException as error:
            settle = partial(outcome.set_exception, error)
        call_on_loop(loop, _settle, outcome, settle)

    threading.Thread(target=run, name="backburner-call", daemon=True).start()
    return await outcome


def _settle(outcome: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not outcome.done():  # the coroutine was cancelled
        settle()


def call_on_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call a function on a loop soon. If the loop is closed, nothing waits for the call."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)
