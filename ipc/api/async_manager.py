"""`AsyncBackgroundManager`: a `BackgroundManager` for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar, Unpack

from ..config.settings import BackgroundConfig
from ..model.duration import Duration
from ..model.event import ALL_SESSIONS, DEFAULT_CONSUMER, Event, EventBus
from ..model.launch import LaunchFields, LaunchInput
from ..model.task import Task, TaskStatus
from ..store.tasks import Stream as OutputStream
from ..store.values import Adopted
from .async_operations import AsyncOperations, TaskList, call_on_loop, in_thread
from .callbacks import Callback, Remove
from .event_stream import Events
from .manager import BackgroundManager, Settings
from .operations import TaskRef, TaskRefs
from .waiting import deadline

T = TypeVar("T")

#: The maximum number of events that are read ahead of a slow `async for`.
MAX_AHEAD = 256

#: Seconds between two checks that the loop of a running callback is not closed.
LOOP_CHECK_INTERVAL = 1.0

#: True in a callback. The event thread waits until it returns.
_in_callback: ContextVar[bool] = ContextVar("backburner_in_callback", default=False)

AsyncCallback = Callable[[Task], Awaitable[object] | object]


class AsyncBackgroundManager(AsyncOperations):
    """A BackgroundManager whose methods are coroutines. Callbacks are called on the loop and may be coroutines.

    Cancelling a coroutine ends only its wait. The operation itself continues.
    """

    def __init__(
        self, home: str | os.PathLike[str] | None = None, config: Settings | None = None, start: bool = False
    ) -> None:
        """Open a state directory, as BackgroundManager does. With `start`, `async with` starts a supervisor."""
        self._manager = BackgroundManager(home, config)
        self._start = start

    async def __aenter__(self) -> AsyncBackgroundManager:
        if self._start:
            await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def home(self) -> Path:
        """The state directory."""
        return self._manager.home

    @property
    def config(self) -> BackgroundConfig:
        """The settings that this manager has read."""
        return self._manager.config

    async def launch(self, **given: Unpack[LaunchFields]) -> Task:
        """See `BackgroundManager.launch`."""
        return (await self.launch_many([given]))[0]

    async def launch_many(self, launches: Sequence[LaunchFields | LaunchInput]) -> TaskList:
        """See `BackgroundManager.launch_many`."""
        return await asyncio.to_thread(self._manager.launch_many, launches)

    async def get_task(self, task_id: str) -> Task | None:
        """See `BackgroundManager.get_task`."""
        return await asyncio.to_thread(self._manager.get_task, task_id)

    async def get_all_tasks(self) -> TaskList:
        """See `BackgroundManager.get_all_tasks`."""
        return await asyncio.to_thread(self._manager.get_all_tasks)

    async def get_tasks_by_status(self, status: TaskStatus | str) -> TaskList:
        """See `BackgroundManager.get_tasks_by_status`."""
        return await asyncio.to_thread(self._manager.get_tasks_by_status, status)

    async def get_tasks_for_parent(self, parent_session_id: str) -> TaskList:
        """See `BackgroundManager.get_tasks_for_parent`."""
        return await asyncio.to_thread(self._manager.get_tasks_for_parent, parent_session_id)

    async def output(self, task_id: TaskRef, stream: OutputStream = "stdout") -> str:
        """See `BackgroundManager.output`."""
        return await asyncio.to_thread(self._manager.output, task_id, stream)

    async def complete_task(self, task_id: TaskRef, result: str | None = None) -> bool:
        """See `BackgroundManager.complete_task`."""
        return await asyncio.to_thread(self._manager.complete_task, task_id, result)

    async def fail_task(self, task_id: TaskRef, error: str) -> bool:
        """See `BackgroundManager.fail_task`."""
        return await asyncio.to_thread(self._manager.fail_task, task_id, error)

    async def cancel_task(self, task_id: TaskRef) -> bool:
        """See `BackgroundManager.cancel_task`."""
        return await in_thread(partial(self._manager.cancel_task, task_id))

    async def retry_task(self, task_id: TaskRef) -> bool:
        """See `BackgroundManager.retry_task`."""
        return await asyncio.to_thread(self._manager.retry_task, task_id)

    def on_start(self, callback: AsyncCallback) -> Remove:
        """Call `callback` on the running loop. See `BackgroundManager.on_start`."""
        return self._manager.on_start(_on_loop(callback))

    def on_complete(self, callback: AsyncCallback) -> Remove:
        """Call `callback` on the running loop. See `BackgroundManager.on_complete`."""
        return self._manager.on_complete(_on_loop(callback))

    def get_event_bus(self) -> EventBus:
        """Return the bus of `BackgroundManager`. Handlers are called on the thread of that manager, not on the loop."""
        return self._manager.get_event_bus()

    async def wait(
        self, *tasks: TaskRefs, parent: str | None = None, any: bool = False, timeout: Duration | None = None
    ) -> TaskList:
        """See `BackgroundManager.wait`."""
        woken, until = asyncio.Event(), deadline(timeout)
        wake = partial(call_on_loop, asyncio.get_running_loop(), woken.set)
        wait = await asyncio.to_thread(self._manager._start_wait, tasks, parent, any, wake)
        wait.in_callback = _in_callback.get()
        while not await asyncio.to_thread(wait.is_over):
            await _wait_until_woken(woken, wait.delay(until))
        return await asyncio.to_thread(wait.tasks)

    def events(
        self,
        parent: str = ALL_SESSIONS,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str = DEFAULT_CONSUMER,
        ack: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """Return events for `async for`. See `BackgroundManager.events`."""
        return _iterate(self._manager.events(parent, after, types, consumer, ack))

    async def adopt(self, parent: str, successor: str) -> Adopted:
        """See `BackgroundManager.adopt`."""
        return await asyncio.to_thread(self._manager.adopt, parent, successor)

    async def start(self) -> None:
        """See `BackgroundManager.start`."""
        await in_thread(self._manager.start)

    async def stop(self, now: bool = False) -> None:
        """See `BackgroundManager.stop`."""
        await in_thread(partial(self._manager.stop, now))

    async def clear(self) -> None:
        """See `BackgroundManager.clear`."""
        await in_thread(self._manager.clear)

    async def close(self) -> None:
        """See `BackgroundManager.close`."""
        await in_thread(self._manager.close)


async def _iterate(source: Events) -> AsyncGenerator[Event, None]:
    """Yield events without blocking the loop. The reader's thread reads ahead, so they are acknowledged only here."""
    acknowledges, source.acknowledges = source.acknowledges, False
    reader = EventReader(source, asyncio.get_running_loop())
    try:
        while (event := await reader.next()) is not None:
            yield event
            if acknowledges:
                await asyncio.to_thread(source.acknowledge, event)
    finally:
        reader.stop()


class EventReader:
    """Reads events on a thread for a loop, up to `MAX_AHEAD` events ahead."""

    def __init__(self, source: Events, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread."""
        self._source = source
        self._loop = loop
        self._queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self._free = threading.Semaphore(MAX_AHEAD)
        self._is_stopped = False
        threading.Thread(target=self._run, name="backburner-reader", daemon=True).start()

    async def next(self) -> Event | None:
        """Return the next event, or None at the end. An error of the source is raised here."""
        item = await self._queue.get()
        self._free.release()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Close the source and let the thread end."""
        self._is_stopped = True
        self._source.close()
        self._free.release()

    def _run(self) -> None:
        try:
            for event in self._source:
                self._free.acquire()
                if self._is_stopped:
                    return
                self._put(event)
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: Event | BaseException | None) -> None:
        call_on_loop(self._loop, self._queue.put_nowait, item)


def _on_loop(callback: AsyncCallback) -> Callback:
    """Return a function for the event thread that runs the callback on the loop and returns when it has ended."""
    loop = asyncio.get_running_loop()

    def call(task: Task) -> None:
        with suppress(CancelledError):  # the loop has ended since
            _run_on_loop(loop, _call(callback, task))

    return call


def _run_on_loop(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[object, object, None]) -> None:
    """Run a coroutine on a loop. Return when it has ended, or when the loop is closed."""
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop is closed
        coroutine.close()
        return
    while not (future.done() or loop.is_closed()):  # closing a loop notifies no other thread
        wait([future], timeout=LOOP_CHECK_INTERVAL)
    if future.done():
        future.result()
    else:
        coroutine.close()


async def _call(callback: AsyncCallback, task: Task) -> None:
    _in_callback.set(True)
    result = callback(task)
    if isawaitable(result):
        await result


async def _wait_until_woken(woken: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)
    woken.clear()
