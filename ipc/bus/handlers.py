"""What the bus can be asked for, besides subscriptions."""

from __future__ import annotations

import base64
import codecs
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NamedTuple, cast

from ..clock import monotonic
from ..errors import BackburnerError, HeldByWorker, NotFound, Temporary
from ..home import Home
from ..machine.distribution import version
from ..model.event import Line
from ..model.launch import LaunchInput
from ..model.task import Task, TaskStatus
from ..store.publication import TIMEOUT
from ..store.queue import Queue
from ..store.sessions import adopt
from ..store.tasks import Stream
from ..store.values import PAGE_BYTES, Filter
from .connection import Call
from .protocol import PARAMETERS, PROTOCOL
from .server import LATER, Method

#: The bytes of output that one answer brings, unless asked for more or fewer.
PIECE = 64 * 1024
#: The longest character of UTF-8: less than this is never asked for, or a reader of text could not get on.
CHARACTER = 4

ENDED = frozenset({"background_task_completed"})
#: Tasks that calls wait for at most, each counted for each call: a hundred bytes each.
MOST_WAITED = 100_000
#: Seconds until a call about a task that a worker holds is tried again; the worker's publication mostly comes earlier.
RETRY_AFTER = 0.005
#: What says that a task does not run any more.
STOPPED = ENDED | {"background_task_retrying"}


class Surroundings(NamedTuple):
    """What the methods need of the process that serves them."""

    #: Have it look at the log: something changed.
    poke: Callable[[], object]
    #: Form the waiting batches of a parent, or of all (None), now.
    flush: Callable[[str | None], object]
    #: Tell what `status --json` tells.
    status: Callable[[], Mapping[str, Any]]


@dataclass(eq=False)
class _Waiter:
    """A call that is answered when all (or any) of its tasks have had an event of certain types."""

    call: Call
    types: frozenset[str]
    #: All its tasks, in the order in which they were asked for, and those that it still waits for.
    ids: Sequence[str]
    open: set[str]
    #: Makes the answer of the tasks it does not wait for any more; True says that the time was up.
    result: Callable[[list[str], bool], object]
    any: bool = False

    @property
    def over(self) -> bool:
        return not self.open or (self.any and len(self.open) < len(self.ids))

    def answer(self, timed_out: bool) -> object:
        return self.result([id for id in self.ids if id not in self.open], timed_out)

    def finish(self, timed_out: bool) -> None:
        try:
            self.call.answer(self.answer(timed_out))
        except BackburnerError as error:
            self.call.fail(error)


class _Waiters:
    """The calls that wait, found by the tasks they wait for. Nothing is polled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_task: dict[str, set[_Waiter]] = {}
        self._deadlines: list[tuple[float, int, _Waiter]] = []
        self._numbers = count()
        self._timed = 0
        self._waited = 0

    def have_room(self, tasks: int) -> bool:
        """Whether a call may wait for so many tasks; one alone may for any number."""
        return not self._waited or self._waited + tasks <= MOST_WAITED

    def add(self, waiter: _Waiter, timeout: float | None) -> None:
        self._waited += len(waiter.ids)
        for id in waiter.open:
            self._by_task.setdefault(id, set()).add(waiter)
        waiter.call.when_closed(partial(self._forget, waiter, timeout is not None))
        if timeout is not None:
            self._timed += 1
            heappush(self._deadlines, (self._clock() + timeout, next(self._numbers), waiter))

    @property
    def tasks(self) -> int:
        """The number of tasks that calls wait for."""
        return len(self._by_task)

    def observe(self, line: Line) -> None:
        if line.type not in STOPPED:
            return
        id = json.loads(line.text)["taskId"]
        for waiter in list(self._by_task.get(id, ())):
            if line.type in waiter.types:
                waiter.open.discard(id)
                if waiter.over:
                    waiter.finish(False)

    def due(self) -> float | None:
        while self._deadlines and self._deadlines[0][2].call.closed:
            heappop(self._deadlines)
        return max(0.0, self._deadlines[0][0] - self._clock()) if self._deadlines else None

    def expire(self) -> None:
        while self.due() == 0:
            heappop(self._deadlines)[2].finish(True)

    def _forget(self, waiter: _Waiter, timed: bool) -> None:
        self._waited -= len(waiter.ids)
        for id in waiter.ids:
            waiters = self._by_task.get(id, set())
            waiters.discard(waiter)
            if not waiters:
                self._by_task.pop(id, None)
        if timed:
            self._timed -= 1
            self._compact()

    def _compact(self) -> None:
        """Clients that come, wait and go leave nothing behind, however far their deadlines are."""
        if len(self._deadlines) > 2 * self._timed + 64:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].call.closed]
            heapify(self._deadlines)


class _Held:
    """The calls about tasks that a worker holds: they are tried again until it has published them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: list[tuple[float, Call, Callable[[], object]]] = []

    def attempt(self, call: Call, handle: Callable[[], object]) -> object:
        """Return the answer, or LATER if it has to be tried again."""
        try:
            return handle()
        except HeldByWorker:
            self._calls.append((self._clock() + TIMEOUT, call, handle))
            return LATER

    def due(self) -> float | None:
        return RETRY_AFTER if self._calls else None

    def retry(self) -> None:
        calls, self._calls = self._calls, []
        for deadline, call, handle in calls:
            if not call.closed:
                self._retry(deadline, call, handle)

    def _retry(self, deadline: float, call: Call, handle: Callable[[], object]) -> None:
        try:
            answer = handle()
        except HeldByWorker as error:
            if self._clock() < deadline:
                self._calls.append((deadline, call, handle))
            else:
                call.fail(error)
        except BackburnerError as error:
            call.fail(error)
        else:
            if answer is not LATER:
                call.answer(answer)


class Methods:
    """The table of methods, and the calls in it that wait."""

    def __init__(self, queue: Queue, home: Home, around: Surroundings, clock: Callable[[], float] = monotonic) -> None:
        """Serve this queue; `clock` gives seconds that never go back."""
        self._queue, self._home, self._around = queue, home, around
        self._waiters = _Waiters(clock)
        self._held = _Held(clock)

    def table(self) -> dict[str, Method]:
        """What to give to the Bus."""
        handlers: dict[str, Callable[[dict[str, Any], Call], object]] = {
            "launch": self._launch,
            "launchMany": self._launch_many,
            "get": self._get,
            "list": self._list,
            "wait": self._wait,
            "cancel": self._cancel,
            "retry": self._retry,
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
        """Answer the calls that have waited for one of these events."""
        for line in lines if self._waiters.tasks else ():
            self._waiters.observe(line)

    def due(self) -> float | None:
        """Seconds until a call has waited long enough, 0 if one has; None when none has a limit."""
        return min((due for due in (self._waiters.due(), self._held.due()) if due is not None), default=None)

    def expire(self) -> None:
        """Answer the calls that have waited long enough, and try those again that wait for a worker."""
        self._waiters.expire()
        self._held.retry()

    def _launch(self, params: dict[str, Any], call: Call) -> object:
        launched = self._queue.launch_many([self._input(params)])[0]
        self._around.poke()
        return self._queue.get(launched.id).to_json() | {"existing": launched.existing}

    def _launch_many(self, params: dict[str, Any], call: Call) -> object:
        launched = self._queue.launch_many([self._input(task) for task in params["tasks"]])
        self._around.poke()
        return {"ids": [task.id for task in launched]}

    def _input(self, params: dict[str, Any]) -> LaunchInput:
        """A client's folder is not known; the one that holds the home is the project's."""
        folder = self._home.folder.parent
        wanted = LaunchInput.from_json(params)
        if wanted.resume is not None and wanted.cwd is None:
            return wanted
        return replace(wanted, cwd=str(folder / (wanted.cwd or "")))

    def _get(self, params: dict[str, Any], call: Call) -> object:
        return self._queue.get(params["id"]).to_json()

    def _list(self, params: dict[str, Any], call: Call) -> object:
        status = params.get("status")
        page = self._queue.list(
            Filter(
                status=None if status is None else TaskStatus(status),
                parent=params.get("parentSessionId"),
                model=params.get("model"),
                limit=params.get("limit") or Filter().limit,
                cursor=params.get("cursor"),
                room=PAGE_BYTES,
                tags=params.get("tags") or (),
            )
        )
        return {"tasks": [task.brief() for task in page.tasks], "next": page.next}

    def _wait(self, params: dict[str, Any], call: Call) -> object:
        ids, unfinished = self._awaited(params)
        waiter = _Waiter(call, ENDED, ids, unfinished, self._waited, bool(params.get("any")))
        timeout = params.get("timeoutMs")
        if waiter.over or timeout == 0:
            return waiter.answer(not waiter.over)
        if not self._waiters.have_room(len(ids)):
            raise Temporary("Too many calls wait for too many tasks; wait for fewer, or listen to the events.")
        self._waiters.add(waiter, None if timeout is None else timeout / 1000)
        return LATER

    def _awaited(self, params: dict[str, Any]) -> tuple[Sequence[str], set[str]]:
        """The tasks named and the parent's unfinished ones (of neither, all that are unfinished); those unfinished."""
        named, parent = params.get("ids"), params.get("parentSessionId")
        others = [] if parent is None and named is not None else self._queue.unfinished(parent)
        going_on = {*others, *self._queue.still_unfinished(named or ())}
        ids = tuple(map(sys.intern, dict.fromkeys([*(named or ()), *others])))  # many may wait for the same
        return ids, {id for id in ids if id in going_on}

    def _waited(self, ids: list[str], timed_out: bool) -> dict[str, Any]:
        """Those that have ended, in the order in which they were asked for."""
        found = [self._still_there(id) for id in ids]
        return {"tasks": [task.brief() for task in found if task is not None], "timedOut": timed_out}

    def _still_there(self, id: str) -> Task | None:
        try:
            return self._queue.get(id)
        except NotFound:  # cleared meanwhile
            return None

    def _cancel(self, params: dict[str, Any], call: Call) -> object:
        """Answer when the tree is gone: then the end is in the log."""
        return self._held.attempt(call, lambda: self._try_cancel(params["id"], call))

    def _try_cancel(self, id: str, call: Call) -> object:
        task = self._queue.cancel(id)
        self._around.poke()
        if task.status is not TaskStatus.RUNNING:
            return task.to_json()
        answer = partial(self._stopped, id)
        self._waiters.add(_Waiter(call, STOPPED, (id,), {id}, answer), None)
        return LATER

    def _stopped(self, id: str, _ids: list[str], _timed_out: bool) -> object:
        return self._queue.get(id).to_json()

    def _retry(self, params: dict[str, Any], call: Call) -> object:
        return self._moved(self._queue.retry(params["id"]))

    def _complete(self, params: dict[str, Any], call: Call) -> object:
        return self._held.attempt(call, lambda: self._moved(self._queue.complete(params["id"], params.get("result"))))

    def _fail(self, params: dict[str, Any], call: Call) -> object:
        return self._held.attempt(call, lambda: self._moved(self._queue.fail(params["id"], params["error"])))

    def _progress(self, params: dict[str, Any], call: Call) -> object:
        return self._held.attempt(call, lambda: self._moved(self._queue.progress(params["id"], params["text"])))

    def _moved(self, task: Task) -> dict[str, Any]:
        self._around.poke()
        return task.to_json()

    def _output(self, params: dict[str, Any], call: Call) -> object:
        stream = cast(Stream, params.get("stream") or "stdout")
        limit = max(CHARACTER, params.get("limit") or PIECE)
        piece = self._queue.output(params["id"], stream, params.get("offset") or 0, limit)
        if params.get("encoding") == "base64":
            data, left = base64.b64encode(piece.data).decode(), 0
        else:
            data, left = _decoded(piece.data, piece.eof)
        return {"data": data, "offset": piece.offset - left, "eof": piece.eof}

    def _adopt(self, params: dict[str, Any], call: Call) -> object:
        adopted = adopt(self._queue.store, params["from"], params["to"])
        self._around.poke()
        return {"tasks": adopted.tasks, "notices": adopted.notices}

    def _flush(self, params: dict[str, Any], call: Call) -> object:
        self._around.flush(params.get("parentSessionId"))
        return {}

    def _status(self, params: dict[str, Any], call: Call) -> object:
        return self._around.status()

    def _ping(self, params: dict[str, Any], call: Call) -> object:
        return {
            "version": version(),
            "protocol": PROTOCOL,
            "home": str(self._home.folder),
            "pid": os.getpid(),
        }


def _decoded(data: bytes, final: bool) -> tuple[str, int]:
    """Text, and how many bytes of a character that has not wholly come yet are left for the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    left, _flags = decoder.getstate()
    return text, len(left)
