"""The methods of the socket, except those about subscriptions."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from ..clock import monotonic
from ..errors import InvalidInput, Temporary
from ..home import Home
from ..machine.distribution import version
from ..model.edit import TaskEdit
from ..model.event import Line
from ..model.launch import LaunchInput
from ..model.query import Filter
from ..model.task import Task, TaskStatus
from ..model.wait import Wait
from ..store.groups import Groups
from ..store.queue import Queue
from ..store.sessions import adopt
from ..store.status import key_document
from ..store.tasks import Stream
from ..store.values import PAGE_BYTES
from ..text.pieces import LONGEST_CHARACTER, decode_piece
from .connection import Call
from .methods import DEFERRED, Handler, Method
from .protocol import PARAMETERS, PROTOCOL
from .waiters import END_TYPES, STOP_TYPES, HeldCalls, Waiter, Waiters

#: The maximum number of bytes of output in one answer, unless the request sets a limit.
DEFAULT_OUTPUT = 64 * 1024


class ServerHooks(NamedTuple):
    """Functions of the process that serves the methods."""

    #: Make the process read the log soon, because it has changed.
    wake: Callable[[], object]
    #: Form the waiting batches of a parent session now, or of all sessions if it is None.
    flush: Callable[[str | None], object]
    #: Return the document of `status --json`.
    status: Callable[[], Mapping[str, Any]]


class Handlers:
    """Answers the calls of clients, at once or when tasks have ended."""

    def __init__(self, queue: Queue, home: Home, hooks: ServerHooks, clock: Callable[[], float] = monotonic) -> None:
        """Serve this queue. `clock` returns monotonic seconds."""
        self._queue, self._home, self._hooks = queue, home, hooks
        self._waiters = Waiters(clock)
        self._held_calls = HeldCalls(clock)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name, for `Bus`."""
        handlers: dict[str, Handler] = {
            "launch": self._launch,
            "launchMany": self._launch_many,
            "get": self._get,
            "list": self._list,
            "wait": self._wait,
            "cancel": self._cancel,
            "retry": self._retry,
            "attempts": self._attempts,
            "edit": self._edit,
            "remove": self._remove,
            "pause": self._pause,
            "resume": self._resume,
            "limit": self._limit,
            "complete": self._complete,
            "fail": self._fail,
            "progress": self._progress,
            "output": self._output,
            "adopt": self._adopt,
            "flush": self._flush,
            "status": self._status,
            "ping": self._ping,
        }
        return {name: Method(PARAMETERS[name], handler) for name, handler in handlers.items()}

    def observe(self, lines: Iterable[Line]) -> None:
        """Answer the calls that wait for one of these events."""
        for line in lines if self._waiters.tasks else ():
            self._waiters.observe(line)

    def due(self) -> float | None:
        """Return the seconds until `answer_due` must be called, or None if no call has a timeout or must be retried."""
        return min((due for due in (self._waiters.due(), self._held_calls.due()) if due is not None), default=None)

    def answer_due(self) -> None:
        """Answer the calls that have timed out, and retry the calls about tasks that a worker holds."""
        self._waiters.expire()
        self._held_calls.retry()

    def _launch(self, params: dict[str, Any], call: Call) -> object:
        launched = self._queue.launch_many([self._input(params)])[0]
        self._hooks.wake()
        return self._queue.get(launched.id).to_json() | {"existing": launched.existing}

    def _launch_many(self, params: dict[str, Any], call: Call) -> object:
        launched = self._queue.launch_many([self._input(task) for task in params["tasks"]])
        self._hooks.wake()
        return {"ids": [task.id for task in launched]}

    def _input(self, params: dict[str, Any]) -> LaunchInput:
        """Return a launch from checked parameters. Its `cwd` is relative to the folder that holds the home."""
        launch = LaunchInput.from_checked_json(params)
        if launch.resume is not None and launch.cwd is None:
            return launch
        return replace(launch, cwd=str(self._home.folder.parent / (launch.cwd or "")))

    def _get(self, params: dict[str, Any], call: Call) -> object:
        ids = params.get("ids")
        if (params.get("id") is None) == (ids is None):
            raise InvalidInput("id: give id or ids", field="id")
        if ids is None:
            return self._queue.get(params["id"]).to_json()
        tasks = {task.id: task.to_json() for task in self._queue.existing(dict.fromkeys(ids))}
        return {"tasks": [tasks.get(id) for id in ids]}

    def _attempts(self, params: dict[str, Any], call: Call) -> object:
        return {"attempts": [attempt.to_json() for attempt in self._queue.attempts(params["id"])]}

    def _list(self, params: dict[str, Any], call: Call) -> object:
        limit = params.get("limit") or Filter().limit
        which = Filter.of_parameters(params, parent=params.get("parentSessionId"), limit=limit, room=PAGE_BYTES)
        page = self._queue.list(which)
        return {"tasks": [task.brief() for task in page.tasks], "next": page.next}

    def _wait(self, params: dict[str, Any], call: Call) -> object:
        wait, timeout = self._start_wait(params), params.get("timeoutMs")
        if wait.is_over or timeout == 0:
            return self._wait_result(wait)
        if not self._waiters.has_room_for(len(wait.ids)):
            raise Temporary("Too many calls wait for too many tasks; wait for fewer tasks, or subscribe to the events.")
        waiter = Waiter(call, END_TYPES, wait, partial(self._wait_result, wait))
        self._waiters.add(waiter, None if timeout is None else timeout / 1000)
        return DEFERRED

    def _start_wait(self, params: dict[str, Any]) -> Wait:
        """Return a wait for the named tasks and the parent's unfinished tasks. The default is all unfinished tasks."""
        named, parent = params.get("ids") or [], params.get("parentSessionId")
        others = [] if parent is None and params.get("ids") is not None else self._queue.unfinished(parent)
        unfinished = [*self._queue.still_unfinished(named), *others]
        # Interned, because many calls may wait for the same tasks.
        return Wait(map(sys.intern, [*named, *others]), map(sys.intern, unfinished), bool(params.get("any")))

    def _wait_result(self, wait: Wait) -> dict[str, Any]:
        tasks = self._queue.existing(wait.ended)
        return {"tasks": [task.brief() for task in tasks], "timedOut": not wait.is_over}

    def _cancel(self, params: dict[str, Any], call: Call) -> object:
        """Answer when the log has the event that ends the attempt. Its process tree is gone by then."""
        return self._held_calls.attempt(call, lambda: self._try_cancel(params["id"], call))

    def _try_cancel(self, id: str, call: Call) -> object:
        task = self._queue.cancel(id)
        self._hooks.wake()
        if task.status is not TaskStatus.RUNNING:
            return task.to_json()
        self._waiters.add(Waiter(call, STOP_TYPES, Wait([id]), lambda: self._queue.get(id).to_json()), None)
        return DEFERRED

    def _retry(self, params: dict[str, Any], call: Call) -> object:
        return self._wake_and_return(self._queue.retry(params["id"]))

    def _edit(self, params: dict[str, Any], call: Call) -> object:
        edit = TaskEdit.from_checked_json(params)
        return self._change(call, lambda: self._queue.edit(params["id"], edit))

    def _remove(self, params: dict[str, Any], call: Call) -> object:
        ids = list(dict.fromkeys(params["ids"]))
        self._queue.remove(ids)
        self._hooks.wake()
        return {"ids": ids}

    def _pause(self, params: dict[str, Any], call: Call) -> object:
        return self._change_group(call, lambda groups: groups.pause(params["key"]))

    def _resume(self, params: dict[str, Any], call: Call) -> object:
        return self._change_group(call, lambda groups: groups.resume(params["key"]))

    def _limit(self, params: dict[str, Any], call: Call) -> object:
        """Set a limit. Without a limit, return the key's row."""
        key, limit = params["key"], params.get("limit")
        if limit is None:
            return self._change_group(call, lambda groups: groups.limits().group(key))
        number = {"default": None, "unlimited": 0}[limit] if isinstance(limit, str) else int(limit)
        result = self._change_group(call, lambda groups: groups.limit(key, number))
        if result is DEFERRED:  # until the call is closed, workers take one task at a time
            call.when_closed(lambda: self._queue.store.limits.set_single(False))
        return result

    def _change_group(self, call: Call, change: Callable[[Groups], str]) -> object:
        groups = Groups(self._queue.store, self._queue.config)
        groups.publication_timeout = self._queue.publication_timeout
        return self._held_calls.attempt(call, lambda: key_document(groups.row(change(groups))))

    def _complete(self, params: dict[str, Any], call: Call) -> object:
        return self._change(call, lambda: self._queue.complete(params["id"], params.get("result")))

    def _fail(self, params: dict[str, Any], call: Call) -> object:
        return self._change(call, lambda: self._queue.fail(params["id"], params["error"]))

    def _progress(self, params: dict[str, Any], call: Call) -> object:
        return self._change(call, lambda: self._queue.progress(params["id"], params["text"]))

    def _change(self, call: Call, change: Callable[[], Task]) -> object:
        return self._held_calls.attempt(call, lambda: self._wake_and_return(change()))

    def _wake_and_return(self, task: Task) -> dict[str, Any]:
        self._hooks.wake()
        return task.to_json()

    def _output(self, params: dict[str, Any], call: Call) -> object:
        stream = cast(Stream, params.get("stream") or "stdout")
        limit = max(LONGEST_CHARACTER, params.get("limit") or DEFAULT_OUTPUT)
        piece = self._queue.output(params["id"], stream, params.get("offset") or 0, limit)
        if params.get("encoding") == "base64":
            data, incomplete = base64.b64encode(piece.data).decode(), 0
        else:
            data, incomplete = decode_piece(piece.data, piece.eof)
        return {"data": data, "offset": piece.offset - incomplete, "eof": piece.eof}

    def _adopt(self, params: dict[str, Any], call: Call) -> object:
        adopted = adopt(self._queue.store, params["from"], params["to"])
        self._hooks.wake()
        return {"tasks": adopted.tasks, "notices": adopted.notices}

    def _flush(self, params: dict[str, Any], call: Call) -> object:
        self._hooks.flush(params.get("parentSessionId"))
        return {}

    def _status(self, params: dict[str, Any], call: Call) -> object:
        return self._hooks.status()

    def _ping(self, params: dict[str, Any], call: Call) -> object:
        return {
            "version": version(),
            "protocol": PROTOCOL,
            "home": str(self._home.folder),
            "pid": os.getpid(),
        }
