"""`BackgroundManager`: the tasks of a state directory, for Python programs."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack, cast

from ..bus.client import Client
from ..config.files import load
from ..config.launcher import Launcher, own_umask
from ..config.settings import BackgroundConfig
from ..errors import AlreadyRunning, BackburnerError, InvalidInput, MoveNotAllowed, NotFound
from ..home import Home
from ..machine.presence import Presence
from ..model.duration import Duration, to_milliseconds
from ..model.event import ALL_SESSIONS, DEFAULT_CONSUMER, TYPES, EventBus
from ..model.launch import LaunchFields, LaunchInput, launch_input
from ..model.query import Filter
from ..model.task import Task, TaskStatus
from ..model.wait import Wait
from ..store.log_reader import start_of
from ..store.sessions import adopt
from ..store.tasks import Stream as OutputStream
from ..store.values import Adopted
from ..validation import Integer, ListOf, Nullable, OneOf, Text
from . import control
from .callbacks import Callback, Remove
from .event_stream import Events
from .handle import Handle
from .operations import Operations, TaskRef, TaskRefs, each_ref
from .waiting import TaskWait, deadline

#: The bytes of output read at a time.
CHUNK = 1024 * 1024

Settings = BackgroundConfig | Mapping[str, object]

_SESSION = Text(max_bytes=1024, non_empty=True)
_RESULT, _ERROR = Nullable(Text()), Text()
_TYPES = Nullable(ListOf(OneOf(*TYPES)))


# In the class, the method `list` hides the type.
TaskList = list[Task]


class BackgroundManager(Operations):
    """The tasks of one state directory. Threads may share a manager, and a forked child may use it.

    Tasks can be launched without a supervisor, but run only while a supervisor is running. Callbacks are called on a
    thread of the manager, which starts when it is first needed.
    """

    def __init__(
        self, home: str | os.PathLike[str] | None = None, config: Settings | None = None, start: bool = False
    ) -> None:
        """Open a state directory, and create it if it does not exist.

        `home` is the folder, by default the current project's. The settings in `config` have the same names as in the
        configuration files, and override them. They apply to launches of this manager and to a supervisor that it
        starts. With `start`, a supervisor is started unless one is running. With `config={"autostart": True}`, every
        launch starts one if necessary. `autostart` in a file or in a BackgroundConfig applies only to the command line.

        Raises BadHome, BadConfiguration, Temporary.
        """
        self._home = Home.find(None if home is None else os.fspath(home))
        self._settings = config.to_json() if isinstance(config, BackgroundConfig) else config
        self._config = load(self._home, None, self._settings)
        self._autostart = isinstance(config, Mapping) and bool(config.get("autostart"))
        self._is_closed = False
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
        """The state directory."""
        return self._home.folder

    @property
    def config(self) -> BackgroundConfig:
        """The settings that this manager has read."""
        return self._config

    def launch(self, **given: Unpack[LaunchFields]) -> Task:
        """Queue a task and return it.

        It runs in the current folder unless `cwd` names another one. It inherits the umask and a few variables
        of this process, such as PATH, and the variables that `pass_env` names. `call` is a function of a module, or its
        name as "module:function". It runs in the interpreter of this process.

        Raises InvalidInput with the `field`, UnknownAgent, NotFound (`after`), OverCap, Temporary.
        """
        return self.launch_many([given])[0]

    def launch_many(self, launches: Sequence[LaunchFields | LaunchInput]) -> TaskList:
        """Queue tasks in order, all of them or none. Raises the same errors as `launch`."""
        fields = [f"tasks[{index}]" for index in range(len(launches))] if len(launches) > 1 else [""] * len(launches)
        inputs = [
            launch_input(_in_milliseconds(given, field), field) for given, field in zip(launches, fields, strict=True)
        ]
        handle = self._handle
        accepted = handle.queue.accept(inputs, Launcher(os.environ, own_umask(), sys.executable or None))
        handle.wake()
        if self._autostart and not Presence(self._home).is_held("supervisor"):
            self.start()
        # The tasks are read last, so that `waiting_for` does not name a supervisor that was just started.
        return handle.queue.launched_tasks(accepted)

    def get_task(self, task_id: str) -> Task | None:
        """Return a task by its ID or a unique prefix of it, or None. Raises Ambiguous, InvalidInput."""
        try:
            return self.get(task_id)
        except NotFound:
            return None

    def get_all_tasks(self) -> TaskList:
        """Return all tasks, oldest first."""
        return self._handle.queue.with_inputs(Filter(limit=None))

    def get_tasks_by_status(self, status: TaskStatus | str) -> TaskList:
        """Return the tasks with a status, oldest first. Raises ValueError for an unknown status."""
        return self._handle.queue.with_inputs(Filter(statuses=[TaskStatus(status)], limit=None))

    def get_tasks_for_parent(self, parent_session_id: str) -> TaskList:
        """Return the tasks of a session, oldest first."""
        parent = _SESSION.check(parent_session_id, "parent_session_id")
        return self._handle.queue.with_inputs(Filter(parent=parent, limit=None))

    def output(self, task_id: TaskRef, stream: OutputStream = "stdout") -> str:
        """Return the output of a task's last attempt up to now. Invalid UTF-8 is replaced. Raises NotFound."""
        OneOf("stdout", "stderr").check(stream, "stream")
        id, data = self._id_of(task_id), bytearray()
        while (chunk := self._handle.queue.output(id, stream, len(data), CHUNK)).data:
            data += chunk.data
        return data.decode(errors="replace")

    def complete_task(self, task_id: TaskRef, result: str | None = None) -> bool:
        """Record that a running task has completed, and end its remaining processes.

        Return False if the task is unknown, not running, or already being ended. Raises InvalidInput if `result` is
        not text.
        """
        text = _RESULT.check(result, "result")
        return self._record_verdict(task_id, lambda id: self._handle.queue.complete(id, text))

    def fail_task(self, task_id: TaskRef, error: str) -> bool:
        """Record that a running task has failed, and end its remaining processes. See `complete_task`."""
        text = _ERROR.check(error, "error")
        return self._record_verdict(task_id, lambda id: self._handle.queue.fail(id, text))

    def cancel_task(self, task_id: TaskRef) -> bool:
        """Cancel a pending or running task. Return when all its processes have ended.

        Return False if the task is unknown, has ended, or is already being ended for another reason. Raises
        Temporary.
        """
        return self._record_verdict(task_id, self.cancel)

    def retry_task(self, task_id: TaskRef) -> bool:
        """Queue a failed or cancelled task again under its ID. Return False if it is unknown or in another state."""
        return self._record_verdict(task_id, self._handle.queue.retry)

    def on_start(self, callback: Callback) -> Remove:
        """Call `callback(task)` for every task of this state directory that starts from now on.

        Return a function that removes the callback. An exception in the callback is logged and changes nothing.
        """
        handle = self._handle
        handle.start_thread()
        return handle.callbacks.on_start(callback, handle.store.events.last_seq())

    def on_complete(self, callback: Callback) -> Remove:
        """Call `callback(task)` for every task that ends from now on, whatever its outcome. See `on_start`."""
        handle = self._handle
        handle.start_thread()
        return handle.callbacks.on_complete(callback, handle.store.events.last_seq())

    def get_event_bus(self) -> EventBus:
        """Return the bus that dispatches all events from now on, on the thread of the callbacks."""
        self._handle.start_thread()
        return self._handle.callbacks.bus

    def events(
        self,
        parent: str = ALL_SESSIONS,
        after: int | None = None,
        types: Sequence[str] | None = None,
        consumer: str = DEFAULT_CONSUMER,
        ack: bool = False,
    ) -> Events:
        """Return the events of a session, or of all sessions (`*`), until the manager or the iterator is closed.

        They begin after the number `after`. By default they begin after the last event that the consumer has
        acknowledged, and for `*` with new events. With `ack`, each event is acknowledged when the next one is
        requested. `types` selects the types of events, by default all. Whatever the types, a `log_truncated` event
        reports that events were deleted. Raises InvalidInput.
        """
        _TYPES.check(types, "types")
        for name, value in (("parent", parent), ("consumer", consumer)):
            _SESSION.check(value, name)
        Nullable(Integer(0)).check(after, "after")
        if parent == ALL_SESSIONS and ack:
            raise InvalidInput("Only the events of one session can be acknowledged.", field="ack")
        handle = self._handle
        log = handle.store.events
        stream = handle.stream(parent, start_of(log, parent, consumer, after))
        events = Events(stream, types, partial(log.acknowledge, parent, consumer))
        events.acknowledges = ack
        return events

    def wait(
        self, *tasks: TaskRefs, parent: str | None = None, any: bool = False, timeout: Duration | None = None
    ) -> TaskList:
        """Wait until tasks have ended and their callbacks have returned. Return the tasks that have ended.

        Each of `tasks` is a task, its ID, or several of them. The wait is for these tasks and the tasks of the session
        `parent`, or by default for all unfinished tasks. With `any`, it is enough that one of these tasks or of the
        session's unfinished tasks has ended.

        Raises:
            TimeoutError: The `timeout`, in seconds or a timedelta, has passed.
            InvalidInput: An argument has the wrong type.
            NotFound: A task does not exist.
            MoveNotAllowed: The caller is itself a task, and holds the only slot that a task waits for.
        """
        woken, until = threading.Event(), deadline(timeout)
        return self._start_wait(tasks, parent, any, woken.set).wait(woken, until)

    def _start_wait(
        self, tasks: Sequence[TaskRefs], parent: str | None, any: bool, wake: Callable[[], object]
    ) -> TaskWait:
        """Start a wait that calls `wake()`, on any thread, when it may be over."""
        queue = self._handle.queue
        Nullable(_SESSION).check(parent, "parent")
        named = [self.get(task).id for task in each_ref(tasks)]
        if parent is not None and not any:
            named += [task.id for task in reversed(queue.list(Filter(parent=parent, limit=None)).tasks)]
        elif parent is not None or not tasks:
            named += queue.unfinished(parent)
        queue.refuse_self_deadlock(named)
        return self._handle.start_wait(Wait(named, any=any), wake)

    def adopt(self, parent: str, successor: str) -> Adopted:
        """Pass the unfinished tasks and unread notifications of session `parent` to the session `successor`.

        Raises InvalidInput, Temporary.
        """
        handle = self._handle
        for name, value in (("parent", parent), ("successor", successor)):
            _SESSION.check(value, name)
        adopted = adopt(handle.store, parent, successor)
        handle.wake()
        return adopted

    def start(self) -> None:
        """Start a supervisor unless one is running. Return when its bus answers.

        The supervisor keeps running when this manager is closed. Raises BadHome, Permanent, Temporary.
        """
        try:
            control.start(self._home, self._settings)
        except AlreadyRunning:
            with Client(self._home, connect_timeout=control.START_TIMEOUT) as client:
                client.call("ping")

    def stop(self, now: bool = False) -> None:
        """Shut the supervisor down. With `now`, end running tasks at once. Raises NoSupervisor, Temporary."""
        control.stop(self._home, now)

    def clear(self) -> None:
        """Send the waiting notifications, cancel all tasks, then delete all tasks, events and cursors.

        Event numbers continue, and a supervisor keeps running. Raises Temporary.
        """
        from .maintenance import Maintenance

        handle = self._handle
        Maintenance(handle.store, self._config).clear(handle.wait_for_callbacks)

    def close(self) -> None:
        """Close the state directory. Tasks and the supervisor keep running. Closing twice does nothing."""
        self._is_closed = True
        self._finalize()
        self._opened.join()

    @property
    def _handle(self) -> Handle:
        """Return this process's handle. A forked child opens its own. Raises BackburnerError after `close`."""
        if self._is_closed:
            raise BackburnerError(f"This manager of {self.home} was closed.")
        if self._opened.pid != os.getpid():
            with self._opening:
                if self._opened.pid != os.getpid():
                    _inherited.append(self._opened)
                    self._open()
        return self._opened

    def _open(self) -> None:
        self._opened = Handle(self._home.prepare(), self._config)
        self._finalize = weakref.finalize(self, self._opened.close)

    def _record_verdict(self, task: TaskRef, record: Callable[[str], Task]) -> bool:
        try:
            self._change(self._id_of(task), record)
        except (NotFound, MoveNotAllowed):
            return False
        return True


def _in_milliseconds(given: LaunchFields | LaunchInput, where: str) -> LaunchFields | LaunchInput:
    """Return a launch with `delay` and `timeout` in milliseconds. Raises InvalidInput."""
    if not isinstance(given, Mapping) or ("delay" not in given and "timeout" not in given):
        return given
    return cast(LaunchFields, to_milliseconds(given, where))


#: Handles that a forked child inherited. It must neither use nor close them, nor let them be garbage-collected.
_inherited: list[Handle] = []

_shared: BackgroundManager | None = None
_shared_arguments: tuple[str | os.PathLike[str] | None, Settings | None] = (None, None)
_shared_lock = threading.Lock()


def get_background_manager(
    home: str | os.PathLike[str] | None = None, config: Settings | None = None
) -> BackgroundManager:
    """Return the manager that the parts of this process share. The first call creates it.

    Raises ValueError if a later call has other arguments.
    """
    global _shared, _shared_arguments
    with _shared_lock:
        if _shared is None:
            _shared = BackgroundManager(home, config)
            _shared_arguments = (home, config)
        elif any(new is not None and new != old for new, old in zip((home, config), _shared_arguments, strict=True)):
            raise ValueError(f"The manager of this process exists already, for {_shared.home} or with other settings.")
        return _shared


def reset_background_manager() -> None:
    """Clear and close the manager that the parts of this process share, if there is one."""
    global _shared
    with _shared_lock:
        manager, _shared = _shared, None
    if manager is not None:
        with manager:
            manager.clear()
