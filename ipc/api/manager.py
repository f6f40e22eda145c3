"""BackgroundManager: tasks of a home, for Python programs."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from ..bus.client import Client
from ..config.environment import captured
from ..config.files import load
from ..config.settings import BackgroundConfig
from ..errors import AlreadyRunning, BackburnerError, HeldByWorker, InvalidInput, MoveNotAllowed, NotFound
from ..home import Home
from ..machine.presence import Presence
from ..model.event import ALL_SESSIONS, TYPES, EventBus
from ..model.launch import LaunchFields, LaunchInput, launch_input
from ..model.task import Task, TaskStatus
from ..store.sessions import adopt
from ..store.tasks import Stream as OutputStream
from ..store.values import Adopted, Filter
from ..validation import ListOf, Nullable, OneOf, Text
from . import control
from .callbacks import Callback, Remove, Waiting
from .event_stream import Events
from .handle import Expecting, Handle
from .waiting import wait_until_gone

#: Bytes of output read at a time.
PIECE = 1024 * 1024

Settings = BackgroundConfig | Mapping[str, object]


_RESULT, _ERROR = Nullable(Text()), Text()
_TYPES = Nullable(ListOf(OneOf(*TYPES)))


class BackgroundManager:
    """The tasks of one home: to launch, to follow, to end. Threads may share it; a fork opens it anew.

    No supervisor is needed to launch; one must run for tasks to run. Callbacks are called on one thread of the
    manager's, which exists from the first need of it on.
    """

    def __init__(
        self, home: str | os.PathLike[str] | None = None, config: Settings | None = None, start: bool = False
    ) -> None:
        """Open a home (a folder; None: this project's), making it where there is none.

        `config` are settings, named as in the files, that win over them: for launches of this manager and for a
        supervisor that it starts. `start` starts one unless one runs. With `config={"autostart": True}` a launch
        does; `autostart` in a file or in a BackgroundConfig is for the command line. Raises BadHome,
        BadConfiguration, Temporary.
        """
        self._home = Home.find(None if home is None else os.fspath(home))
        self._settings = config.to_json() if isinstance(config, BackgroundConfig) else config
        self._config = load(self._home, None, self._settings)
        self._autostart = isinstance(config, Mapping) and bool(config.get("autostart"))
        self._closed = False
        self._opening = threading.Lock()
        self._open()
        if start:
            self.start()

    def __enter__(self) -> BackgroundManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.home)!r})"

    @property
    def home(self) -> Path:
        """The folder that holds the state."""
        return self._home.folder

    @property
    def config(self) -> BackgroundConfig:
        """The settings as this manager read them."""
        return self._config

    # launching

    def launch(self, **given: Unpack[LaunchFields]) -> Task:
        """Accept a task. The folder is the current one unless `cwd` says another, the usual variables are stored.

        Raises InvalidInput (its `field` names what is wrong), UnknownAgent, NotFound (`after`), OverCap, Temporary.
        """
        return self.launch_many([given])[0]

    def launch_many(self, launches: Sequence[LaunchFields | LaunchInput]) -> list[Task]:
        """Accept tasks, all or none, in order. Raises as `launch`."""
        places = [f"tasks[{place}]" for place in range(len(launches))] if len(launches) > 1 else [""]
        kept = captured(os.environ, self._config.pass_env)
        wanted = [launch_input(given, where, kept) for given, where in zip(launches, places, strict=True)]
        handle = self._handle
        orders = handle.queue.accept(wanted)
        handle.stir()
        if self._autostart and not Presence(self._home).is_held("supervisor"):
            self.start()
        return handle.queue.launched_tasks(orders)  # not before: they would wait for a supervisor that runs now

    # looking

    def get_task(self, task_id: str) -> Task | None:
        """A task by its whole id, or None."""
        try:
            return self._handle.queue.get(task_id)
        except NotFound:
            return None

    def get_all_tasks(self) -> list[Task]:
        """Every task, oldest first."""
        return self._handle.queue.whole(Filter(limit=None))

    def get_tasks_by_status(self, status: TaskStatus | str) -> list[Task]:
        """The tasks in a status, oldest first. Raises ValueError for what is no status."""
        return self._handle.queue.whole(Filter(status=TaskStatus(status), limit=None))

    def get_tasks_for_parent(self, parent_session_id: str) -> list[Task]:
        """A parent's tasks, oldest first."""
        return self._handle.queue.whole(Filter(parent=parent_session_id, limit=None))

    def output(self, task_id: str, stream: OutputStream = "stdout") -> str:
        """What the last try of a task wrote so far; bytes that are no UTF-8 are replaced. Raises NotFound."""
        data = bytearray()
        while (piece := self._handle.queue.output(task_id, stream, len(data), PIECE)).data:
            data += piece.data
        return data.decode(errors="replace")

    # deciding

    def complete_task(self, task_id: str, result: str | None = None) -> bool:
        """Say that a running task is done; False if it is unknown, not running, or already being ended.

        What is left of its processes is ended afterwards. Raises InvalidInput for a result that is no text.
        """
        text = _RESULT.check(result, "result")
        return self._decide(lambda: self._handle.queue.complete(task_id, text))

    def fail_task(self, task_id: str, error: str) -> bool:
        """Say that a running task has failed; else as `complete_task`."""
        text = _ERROR.check(error, "error")
        return self._decide(lambda: self._handle.queue.fail(task_id, text))

    def cancel_task(self, task_id: str) -> bool:
        """Cancel a pending or running task, and return when its process tree is gone.

        False if it is unknown, has ended, or is already being ended otherwise. Raises Temporary.
        """
        cancelled = self._decide(lambda: self._handle.queue.cancel(task_id))
        if cancelled:
            wait_until_gone(self._handle.queue, [task_id])
        return cancelled

    def retry_task(self, task_id: str) -> bool:
        """Queue a failed or cancelled task again under its id; False if it is unknown or in another state."""
        return self._decide(lambda: self._handle.queue.retry(task_id))

    # being told

    def on_start(self, callback: Callback) -> Remove:
        """Have `callback(task)` called for every task of this home that starts from now on.

        Returns a function that ends this. What the callback raises is logged and changes nothing.
        """
        handle = self._handle
        handle.following()
        return handle.listeners.on_start(callback, handle.store.events.last_seq())

    def on_complete(self, callback: Callback) -> Remove:
        """Have `callback(task)` called for every task that ends from now on, whichever way; else as `on_start`."""
        handle = self._handle
        handle.following()
        return handle.listeners.on_complete(callback, handle.store.events.last_seq())

    def get_event_bus(self) -> EventBus:
        """Where this home's events are dispatched from now on, on the thread of the callbacks."""
        self._handle.following()
        return self._handle.listeners.bus

    def events(
        self,
        parent: str = ALL_SESSIONS,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str = "default",
        ack: bool = False,
    ) -> Events:
        """The events of a parent (`*`: of all), for ever, over restarts, until the manager or they are closed.

        Without `after` they begin where the consumer has acknowledged them, for `*` with what is new. With
        `ack` each is acknowledged when the next one is asked for. Of whatever `types` (None: all) they are,
        `log_truncated` comes where some are not kept any more. Raises InvalidInput.
        """
        _TYPES.check(types, "types")
        if parent == ALL_SESSIONS and ack:
            raise InvalidInput("What everyone is told cannot be acknowledged.", field="ack")
        handle = self._handle
        start = after if after is not None else handle.start_of(parent, consumer)
        events = Events(handle.stream(parent, start), types, partial(handle.store.events.acknowledge, parent, consumer))
        events.acknowledges = ack
        return events

    def wait(
        self, *task_ids: str, parent: str | None = None, any: bool = False, timeout: float | None = None
    ) -> list[Task]:
        """Wait until all (or any) of some tasks have ended and their callbacks have returned; those that have ended.

        The tasks are those named and a parent's (with `any`: its unfinished ones); of neither, all that are unfinished.
        Raises NotFound, MoveNotAllowed (in a task: it holds the slot that is waited for), and TimeoutError after
        `timeout` seconds.
        """
        stirred = threading.Event()
        with self.expecting(task_ids, parent, any, stirred.set) as expected:
            return expected.wait(stirred, timeout)

    def expecting(
        self, task_ids: Sequence[str], parent: str | None, any: bool, stir: Callable[[], object]
    ) -> Expecting:
        """What `wait` does, for those who cannot block: `stir` is called, on any thread, when one should look."""
        handle = self._handle
        queue = handle.queue
        named = [queue.get(id).id for id in task_ids]
        if parent is not None and not any:
            named += [task.id for task in reversed(queue.list(Filter(parent=parent, limit=None)).tasks)]
        elif parent is not None or not named:
            named += queue.unfinished(parent)
        queue.refuse_self_deadlock(named)
        return Expecting(handle, Waiting(queue, named, any, stir))

    def adopt(self, parent: str, successor: str) -> Adopted:
        """Have the session `successor` be told of all that `parent` still waits for, and of what it was not told yet.

        Raises InvalidInput, Temporary.
        """
        handle = self._handle
        adopted = adopt(handle.store, parent, successor)
        handle.stir()
        return adopted

    # living

    def start(self) -> None:
        """Have a supervisor run: return when its bus answers. It stays when this manager is closed.

        One that runs already is left as it is. Raises BadHome, Permanent, Temporary.
        """
        try:
            control.start(self._home, self._settings)
        except AlreadyRunning:
            with Client(self._home, patience=control.START_TIMEOUT) as client:
                client.call("ping")

    def stop(self, now: bool = False) -> None:
        """Have the supervisor go down, with `now` without waiting for running tasks. Raises NoSupervisor, Temporary."""
        control.stop(self._home, now)

    def clear(self) -> None:
        """Tell those connected what waits, cancel everything, forget all tasks, events and cursors.

        Numbers go on from where they are; a supervisor stays. Raises Temporary.
        """
        from .maintenance import Maintenance

        handle = self._handle
        Maintenance(handle.store, self._config).clear(handle.catch_up)

    def close(self) -> None:
        """Let go of the home; tasks and supervisor go on. To close twice does nothing."""
        self._closed = True
        self._let_go()
        self._opened.join()

    @property
    def _handle(self) -> Handle:
        """The home as this process has it open."""
        if self._closed:
            raise BackburnerError(f"This manager of {self.home} was closed.")
        if self._opened.pid != os.getpid():
            with self._opening:
                if self._opened.pid != os.getpid():
                    _inherited.append(self._opened)
                    self._open()
        return self._opened

    def _open(self) -> None:
        self._opened = Handle(self._home.prepare(), self._config)
        self._let_go = weakref.finalize(self, self._opened.close)

    def _decide(self, verdict: Callable[[], Task]) -> bool:
        try:
            try:
                verdict()
            except HeldByWorker:  # it may be dead, and no supervisor alive
                control.rescue(self._home)
                verdict()
        except (NotFound, MoveNotAllowed):
            return False
        self._handle.stir()
        return True


#: What forked children got from their parents, and must neither use nor close.
_inherited: list[Handle] = []

_only: BackgroundManager | None = None
_only_for: tuple[str | os.PathLike[str] | None, Settings | None] = (None, None)
_only_lock = threading.Lock()


def get_background_manager(
    home: str | os.PathLike[str] | None = None, config: Settings | None = None
) -> BackgroundManager:
    """This process's one manager; the first call says which. Raises ValueError for other arguments later."""
    global _only, _only_for
    with _only_lock:
        if _only is None:
            _only = BackgroundManager(home, config)
            _only_for = (home, config)
        elif any(new is not None and new != old for new, old in zip((home, config), _only_for, strict=True)):
            raise ValueError(f"This process's manager is that of {_only.home}, with the settings it was made with.")
        return _only


def reset_background_manager() -> None:
    """Clear the home of this process's manager, and forget the manager. Without one, nothing happens."""
    global _only
    with _only_lock:
        manager, _only = _only, None
    if manager is not None:
        with manager:
            manager.clear()
