"""AsyncBackgroundManager: the same for asyncio."""

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
from ..model.event import ALL_SESSIONS, Event, EventBus
from ..model.launch import LaunchFields, LaunchInput
from ..model.task import Task, TaskStatus
from ..store.tasks import Stream as OutputStream
from ..store.values import Adopted
from .callbacks import Callback, Remove
from .event_stream import Events
from .handle import deadline
from .manager import BackgroundManager, Settings

T = TypeVar("T")

#: Events that wait for a slow `async for` at most.
AHEAD = 256

#: Seconds between two looks whether a loop, which has a callback to run, was closed instead.
LOOK = 1.0

#: Whether this is a callback, which the manager's thread waits for.
_within: ContextVar[bool] = ContextVar("backburner_within", default=False)

AsyncCallback = Callable[[Task], Awaitable[object] | object]


class AsyncBackgroundManager:
    """A BackgroundManager whose methods are coroutines; callbacks are called on the loop, and may be coroutines.

    To cancel a coroutine ends its waiting, not what was asked for.
    """

    def __init__(
        self, home: str | os.PathLike[str] | None = None, config: Settings | None = None, start: bool = False
    ) -> None:
        """As BackgroundManager; with `start`, `async with` starts a supervisor unless one runs."""
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
        """The folder that holds the state."""
        return self._manager.home

    @property
    def config(self) -> BackgroundConfig:
        """The settings as this manager read them."""
        return self._manager.config

    async def launch(self, **given: Unpack[LaunchFields]) -> Task:
        """As BackgroundManager.launch."""
        return (await self.launch_many([given]))[0]

    async def launch_many(self, launches: Sequence[LaunchFields | LaunchInput]) -> list[Task]:
        """As BackgroundManager.launch_many."""
        return await asyncio.to_thread(self._manager.launch_many, launches)

    async def get_task(self, task_id: str) -> Task | None:
        """As BackgroundManager.get_task."""
        return await asyncio.to_thread(self._manager.get_task, task_id)

    async def get_all_tasks(self) -> list[Task]:
        """As BackgroundManager.get_all_tasks."""
        return await asyncio.to_thread(self._manager.get_all_tasks)

    async def get_tasks_by_status(self, status: TaskStatus | str) -> list[Task]:
        """As BackgroundManager.get_tasks_by_status."""
        return await asyncio.to_thread(self._manager.get_tasks_by_status, status)

    async def get_tasks_for_parent(self, parent_session_id: str) -> list[Task]:
        """As BackgroundManager.get_tasks_for_parent."""
        return await asyncio.to_thread(self._manager.get_tasks_for_parent, parent_session_id)

    async def output(self, task_id: str, stream: OutputStream = "stdout") -> str:
        """As BackgroundManager.output."""
        return await asyncio.to_thread(self._manager.output, task_id, stream)

    async def complete_task(self, task_id: str, result: str | None = None) -> bool:
        """As BackgroundManager.complete_task."""
        return await asyncio.to_thread(self._manager.complete_task, task_id, result)

    async def fail_task(self, task_id: str, error: str) -> bool:
        """As BackgroundManager.fail_task."""
        return await asyncio.to_thread(self._manager.fail_task, task_id, error)

    async def cancel_task(self, task_id: str) -> bool:
        """As BackgroundManager.cancel_task."""
        return await _apart(partial(self._manager.cancel_task, task_id))

    async def retry_task(self, task_id: str) -> bool:
        """As BackgroundManager.retry_task."""
        return await asyncio.to_thread(self._manager.retry_task, task_id)

    def on_start(self, callback: AsyncCallback) -> Remove:
        """As BackgroundManager.on_start, on the running loop."""
        return self._manager.on_start(_on_loop(callback))

    def on_complete(self, callback: AsyncCallback) -> Remove:
        """As BackgroundManager.on_complete, on the running loop."""
        return self._manager.on_complete(_on_loop(callback))

    def get_event_bus(self) -> EventBus:
        """As BackgroundManager.get_event_bus: its handlers are called on the manager's thread, not on the loop."""
        return self._manager.get_event_bus()

    async def wait(
        self, *task_ids: str, parent: str | None = None, any: bool = False, timeout: float | None = None
    ) -> list[Task]:
        """As BackgroundManager.wait."""
        loop, stirred = asyncio.get_running_loop(), asyncio.Event()
        stir = partial(_stir, loop, stirred)
        until = deadline(timeout)
        expecting = await asyncio.to_thread(self._manager.expecting, task_ids, parent, any, stir)
        expecting.within = _within.get()
        with expecting as expected:
            while not await asyncio.to_thread(expected.over):
                await _rest(stirred, expected.rest(until))
            return await asyncio.to_thread(expected.tasks)

    def events(
        self,
        parent: str = ALL_SESSIONS,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str = "default",
        ack: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """As BackgroundManager.events, for `async for`."""
        return _listen(self._manager.events(parent, after, types, consumer, ack))

    async def adopt(self, parent: str, successor: str) -> Adopted:
        """As BackgroundManager.adopt."""
        return await asyncio.to_thread(self._manager.adopt, parent, successor)

    async def start(self) -> None:
        """As BackgroundManager.start."""
        await _apart(self._manager.start)

    async def stop(self, now: bool = False) -> None:
        """As BackgroundManager.stop."""
        await _apart(partial(self._manager.stop, now))

    async def clear(self) -> None:
        """As BackgroundManager.clear."""
        await _apart(self._manager.clear)

    async def close(self) -> None:
        """As BackgroundManager.close."""
        await _apart(self._manager.close)


async def _listen(source: Events) -> AsyncGenerator[Event, None]:
    """Events without blocking the loop; acknowledged, where they are to be, by the one who listens."""
    acknowledges, source.acknowledges = source.acknowledges, False  # the pump runs ahead
    pump = Pump(source, asyncio.get_running_loop())
    try:
        while (event := await pump.next()) is not None:
            yield event
            if acknowledges:
                await asyncio.to_thread(source.acknowledge, event)
    finally:
        pump.stop()


class Pump:
    """Carries events from a thread that may block to a loop that may not, a bounded number ahead."""

    def __init__(self, source: Events, loop: asyncio.AbstractEventLoop) -> None:
        """Begin."""
        self._source = source
        self._loop = loop
        self._queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._stopped = False
        threading.Thread(target=self._run, name="backburner-pump", daemon=True).start()

    async def next(self) -> Event | None:
        """The next event, or None when there are no more. Raises what reading them raised."""
        item = await self._queue.get()
        self._room.release()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Have the thread end."""
        self._stopped = True
        self._source.close()
        self._room.release()

    def _run(self) -> None:
        try:
            for event in self._source:
                self._room.acquire()
                if self._stopped:
                    return
                self._hand_over(event)
        except BaseException as error:
            self._hand_over(error)
        else:
            self._hand_over(None)

    def _hand_over(self, item: Event | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


async def _apart(function: Callable[[], T]) -> T:
    """Call what may take long on a thread of its own: the loop's few are for what is short."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(outcome.set_result, function())
        except BaseException as error:
            settle = partial(outcome.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, outcome, settle)

    threading.Thread(target=run, name="backburner-call", daemon=True).start()
    return await outcome


def _settle(outcome: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not outcome.done():  # it was cancelled: nobody waits
        settle()


def _on_loop(callback: AsyncCallback) -> Callback:
    """The callback as the manager's thread calls it: it returns when the loop has done it."""
    loop = asyncio.get_running_loop()

    def call(task: Task) -> None:
        with suppress(CancelledError):  # the loop ended meanwhile
            _run_on(loop, _called(callback, task))

    return call


def _run_on(loop: asyncio.AbstractEventLoop, calling: Coroutine[object, object, None]) -> None:
    """Have a loop run a coroutine; returns when it has, or when it never will."""
    try:
        done = asyncio.run_coroutine_threadsafe(calling, loop)
    except RuntimeError:  # it is closed
        calling.close()
        return
    while not (done.done() or loop.is_closed()):  # nobody is told when a loop ends
        wait([done], timeout=LOOK)
    if done.done():
        done.result()
    else:
        calling.close()


async def _called(callback: AsyncCallback, task: Task) -> None:
    _within.set(True)
    answer = callback(task)
    if isawaitable(answer):
        await answer


def _stir(loop: asyncio.AbstractEventLoop, stirred: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(stirred.set)


async def _rest(stirred: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stirred.wait(), seconds)
    stirred.clear()
