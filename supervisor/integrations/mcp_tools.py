"""The tools that an agent's model is given, and what they do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ...ipc import clock
from ...ipc.api import control
from ...ipc.api.waiting import wait_until_gone
from ...ipc.backoff import Backoff
from ...ipc.bus.client import EVERYONE, Client
from ...ipc.bus.handlers import PARAMETERS
from ...ipc.config.environment import captured
from ...ipc.config.settings import BackgroundConfig, load, read
from ...ipc.errors import AlreadyRunning, Disconnected, InvalidInput, NoSupervisor, NotFound
from ...ipc.home import Home
from ...ipc.machine.presence import Presence
from ...ipc.model.launch import LAUNCH_FIELDS, LaunchInput, launch_input
from ...ipc.model.task import Task, TaskStatus
from ...ipc.store.queue import Launched, Queue
from ...ipc.store.sqlite.database import Database
from ...ipc.store.tasks import Filter, Stream
from ...ipc.validation import Integer, ListOf, Nullable, Record, Schema, Shape
from .caller import Callers

#: Milliseconds that one `wait` takes if nothing is said, and at most: clients give a call up after 60 s.
WAIT, LONGEST_WAIT = 45_000, 49_000
#: Bytes of output in one piece, and characters of a result that lists show.
PIECE, SHOWN = 30_000, 400
#: Seconds that a call waits for a bus that a new supervisor opens.
PATIENCE = 10.0
#: Seconds that a wait looks for a bus that went away, where no supervisor lives that would open one.
RETURN = 2.0
#: Calls that wait for the bus at the same time, each in a thread; more of them take turns.
MAX_WAITING = 32
#: What a model is told that waits for what nobody starts.
DOWN = (
    "No supervisor runs for {home}: what is pending is not started. Do not wait again before there is one: the user"
    " starts it (backburner up --detach), or the next `launch` does."
)

INSTRUCTIONS = """\
Run work in the background and go on meanwhile. `launch` returns at once with a task's id; each task waits for a slot
of its model or key, runs, and ends as completed, error or cancelled.
You need not poll. When tasks of yours have ended, the next result of any of these tools ends with, or is followed by,
a block <background-tasks> that says what ended, how, and with which result; it is told once. If you have other work,
do it, or end your turn. If you can do nothing else before they end, call `wait`; when it comes back with timedOut and
without a note, call it again. `output` reads all that a task wrote, `cancel` ends it with all its processes, `list`
shows your tasks, `inbox` shows what you were not told yet. A task goes on when your turn, your client or this server
ends.
Where an answer calls your session `cwd:…`, your client does not tell which session you are: all sessions in this
folder share one inbox, and what one is told, another is not. If there may be others, make up an id once and give it as
`parentSessionId` in every call."""


class Tool(NamedTuple):
    """What a model reads of a tool, and what it takes."""

    description: str
    params: Record
    hints: Mapping[str, str]

    def schema(self) -> Schema:
        """The JSON Schema of its arguments; what may be null need not be given."""
        shapes = {name: _given(shape) for name, shape in self.params.fields.items()}
        schema = Record(self.params.title, shapes, self.params.required).schema()
        for name, hint in self.hints.items():
            schema["properties"][name]["description"] = hint
        return schema


def _given(shape: Shape[Any]) -> Shape[Any]:
    return shape.shape if isinstance(shape, Nullable) else shape


_PARENT = {"parentSessionId": LAUNCH_FIELDS["parentSessionId"]}
_WHO = {
    "parentSessionId": "your session's id; found by itself where your client tells it, else it is `cwd:` and the folder"
}

_WHICH = {"id": PARAMETERS["get"].fields["id"]}
_SOME = Nullable(ListOf(_WHICH["id"], non_empty=True))
_WAITING = {**PARAMETERS["wait"].fields, **_PARENT, "ids": _SOME, "timeoutMs": Nullable(Integer(0))}
_OUTPUT = {name: shape for name, shape in PARAMETERS["output"].fields.items() if name != "encoding"}

TOOLS: Mapping[str, Tool] = {
    "launch": Tool(
        "Start a task in the background: a `command` (argv, no shell), or a `prompt` for an `agent`. Returns its id at"
        " once; you are told when it has ended.",
        Record("launch", LAUNCH_FIELDS),
        {
            "command": 'argv, as ["make", "test"]; for a shell: ["sh", "-c", "…"]',
            "prompt": "what an agent is to do, in full: it sees nothing of this conversation",
            "agent": "who works on the prompt, by its name in the configuration",
            "model": "the model; it is also what the task competes for",
            "concurrencyKey": "what it competes for instead: at most so many tasks of a key run at once",
            "description": "a few words that you will know it by",
            "cwd": "the folder it runs in; this project's by default",
            "after": "ids of tasks that must have completed first",
            "timeoutMs": "end it when it runs longer",
            "uniqueKey": "if an unfinished task has this name, that one is returned and nothing is launched",
            **_WHO,
        },
    ),
    "list": Tool(
        "Your tasks, newest first, with their status.",
        Record("list", {**PARAMETERS["list"].fields}),
        {"parentSessionId": "another session's tasks; * for everybody's", "cursor": "the `next` of the page before"},
    ),
    "output": Tool(
        "What a task wrote, also while it runs. Read on from the returned `offset` until `eof`.",
        Record("output", {**_OUTPUT, **_PARENT}, required=("id",)),
        {"offset": "byte to begin at", "limit": f"bytes at most; {PIECE} by default", **_WHO},
    ),
    "wait": Tool(
        "Wait until tasks have ended: those with these `ids`, or, without any, all of yours; with `any` until one of"
        " them has. Returns those that have ended; `timedOut` says that some have not: call it again.",
        Record("wait", _WAITING),
        {"timeoutMs": f"{WAIT} by default, {LONGEST_WAIT} at most", **_WHO},
    ),
    "cancel": Tool(
        "End a task and all its processes. Returns when they are gone.",
        Record("cancel", {**_WHICH, **_PARENT}, required=("id",)),
        _WHO,
    ),
    "inbox": Tool(
        "What has ended and you were not told yet, and which of your tasks are unfinished.",
        Record("inbox", _PARENT),
        _WHO,
    ),
}

Answer = dict[str, Any]


class Office:
    """Carries out calls in one home, for the clients of one server process."""

    def __init__(self, home: Home, callers: Callers) -> None:
        """Touch nothing yet: a home is made by the first launch."""
        self.home = home
        self._callers = callers
        self._opened: Database | None = None
        self._starting = asyncio.Lock()
        self._threads = ThreadPoolExecutor(MAX_WAITING, "backburner-wait")

    @property
    def database(self) -> Database | None:
        """The home's, if there is one. Raises BadHome, Temporary, Permanent."""
        if self._opened is None and self.home.database.exists():
            self._open()
        return self._opened

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool is to be used with. Raises InvalidInput."""
        if name not in TOOLS:
            raise InvalidInput(f"There is no tool {name}; there are {', '.join(TOOLS)}.")
        return TOOLS[name].params.check(dict(arguments))

    def parent(self, params: Mapping[str, Any], beside: Mapping[str, Any] | None) -> str:
        """The session that calls. Raises BadHome, Temporary, Permanent."""
        said = params.get("parentSessionId")
        return self._callers.parent(None if said == EVERYONE else said, beside, self.database)

    def is_told_by_hook(self, parent: str, beside: Mapping[str, Any] | None) -> bool:
        """Whether that session is told after a call, not with its answer. Raises BadHome, Temporary, Permanent."""
        return self._callers.is_told_by_hook(parent, beside, self.database)

    async def call(self, name: str, params: dict[str, Any], parent: str) -> Answer:
        """Use a tool, with what was checked, on behalf of a session. Raises BackburnerError."""
        work: Mapping[str, Callable[[dict[str, Any], str], Awaitable[Answer]]] = {
            "launch": self._launch,
            "list": self._list,
            "output": self._output,
            "wait": self._wait,
            "cancel": self._cancel,
            "inbox": self._inbox,
        }
        return await work[name](params, parent)

    async def _launch(self, params: dict[str, Any], parent: str) -> Answer:
        launched = await asyncio.to_thread(self._accept, params, parent)
        await self._supervise()
        task = await asyncio.to_thread(lambda: self._queue().get(launched.id))
        return _told(task) | {"existing": launched.existing}

    def _accept(self, params: dict[str, Any], parent: str) -> Launched:
        config = load(self.home)
        database = self.database or self._open()
        self._callers.note(database)
        queue = Queue(database, config)
        wanted = LaunchInput.from_json({**params, "parentSessionId": parent})
        return queue.launch(launch_input(wanted, "", captured(os.environ, config.pass_env)))

    async def _list(self, params: dict[str, Any], parent: str) -> Answer:
        return await asyncio.to_thread(self._page, params, parent)

    def _page(self, params: dict[str, Any], parent: str) -> Answer:
        if self.database is None:
            return {"tasks": [], "next": None}
        status, everybody = params.get("status"), params.get("parentSessionId") == EVERYONE
        which = Filter(
            status=None if status is None else TaskStatus(status),
            parent=None if everybody else parent,
            model=params.get("model"),
            limit=params.get("limit") or 20,
            cursor=params.get("cursor"),
        )
        page = self._queue().list(which)
        return {"tasks": [_told(task) for task in page.tasks], "next": page.next}

    async def _output(self, params: dict[str, Any], parent: str) -> Answer:
        return await asyncio.to_thread(self._piece, params)

    def _piece(self, params: dict[str, Any]) -> Answer:
        stream: Stream = "stderr" if params.get("stream") == "stderr" else "stdout"
        queue = self._queue()
        piece = queue.output(queue.find(params["id"]), stream, params.get("offset") or 0, params.get("limit") or PIECE)
        return {"data": piece.data.decode(errors="replace"), "offset": piece.offset, "eof": piece.eof}

    async def _wait(self, params: dict[str, Any], parent: str) -> Answer:
        ids = await asyncio.to_thread(self._awaited, params, parent)
        asked = params.get("timeoutMs")
        wanted: dict[str, Any] = {"ids": ids, "any": bool(params.get("any"))}
        if ids:
            await self._rest(clock.monotonic() + min(WAIT if asked is None else asked, LONGEST_WAIT) / 1000, wanted)
        return await asyncio.to_thread(self._known, **wanted)

    async def _rest(self, until: float, wanted: Mapping[str, Any]) -> None:
        """Until they have ended or the time is over. It starts no supervisor: the user may just have taken one down."""
        patience, backoff = 0.0 if self._is_down() else RETURN, Backoff()
        while True:
            left = max(0.0, until - clock.monotonic())
            try:
                with Client(self.home, min(left, patience)) as client:
                    return await self._in_thread(self._wait_on_bus, client, until, wanted)
            except Disconnected:
                patience, is_lost = RETURN, False  # at a restart another bus comes
            except NoSupervisor:
                is_lost = self._is_down()
            if is_lost or left == 0:
                return None
            await asyncio.sleep(min(left, backoff.next_delay()))  # a bus may hang up at once, again and again

    def _wait_on_bus(self, client: Client, until: float, wanted: Mapping[str, Any]) -> None:
        left = max(0.0, until - clock.monotonic())  # the call may have waited for a thread
        client.call("wait", **wanted, timeoutMs=round(left * 1000))

    def _known(self, ids: Sequence[str], any: bool) -> Answer:
        """Which of them have ended, and whether that is enough."""
        found = [task for id in ids if (task := self._look(id)) is not None]
        ended = [task for task in found if task.status.ended]
        is_over = len(ended) == len(found) or (any and bool(ended))
        why = {} if is_over or not self._is_down() else {"note": DOWN.format(home=self.home.folder)}
        return {"tasks": [_told(task) for task in ended], "timedOut": not is_over, **why}

    def _look(self, id: str) -> Task | None:
        try:
            return self._queue().get(id)
        except NotFound:  # cleared meanwhile
            return None

    def _awaited(self, params: dict[str, Any], parent: str) -> list[str]:
        if params.get("ids"):
            queue = self._queue()
            return [queue.find(id) for id in params["ids"]]
        return [] if self.database is None else self._queue().unfinished(parent)

    async def _cancel(self, params: dict[str, Any], parent: str) -> Answer:
        id = await asyncio.to_thread(lambda: self._queue().find(params["id"]))
        backoff = Backoff()
        while not (task := await self._cancelled(id)).status.ended:
            await asyncio.sleep(backoff.next_delay())  # as in a wait
        return _told(task)

    async def _cancelled(self, id: str) -> Task:
        """The task after a try to cancel it. A call that is given up ends only the waiting."""
        if self._is_down():
            await asyncio.to_thread(self._end, id)
        else:
            with suppress(Disconnected, NoSupervisor), Client(self.home, PATIENCE) as client:
                await self._in_thread(client.call, "cancel", id=id)
        return await asyncio.to_thread(lambda: self._queue().get(id))

    def _end(self, id: str) -> None:
        queue = self._queue()
        queue.cancel(id)
        wait_until_gone(queue, [id])

    async def _inbox(self, params: dict[str, Any], parent: str) -> Answer:
        """What is unread stands at the end of the answer, as of every answer."""
        return await asyncio.to_thread(self._unfinished, parent)

    def _unfinished(self, parent: str) -> Answer:
        queue = None if self.database is None else self._queue()
        ids = [] if queue is None else queue.unfinished(parent)
        return {"parentSessionId": parent, "unfinished": [_told(queue.get(id)) for id in ids] if queue else []}

    async def _in_thread(self, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """Make a call of a client that is closed afterwards: if the call is cancelled, that frees its thread."""
        await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments, **options))

    def _is_down(self) -> bool:
        return not Presence(self.home).is_held("supervisor")

    async def _supervise(self) -> None:
        """Have a supervisor run."""
        async with self._starting:
            if self._is_down():
                await asyncio.to_thread(self._start)

    def _start(self) -> None:
        try:
            control.start(self.home)
        except AlreadyRunning:  # somebody else was faster
            return

    def _queue(self) -> Queue:
        if self.database is None:
            raise NotFound(f"There are no tasks in {self.home.folder}.", field="id")
        return Queue(self.database, self._usable())

    def _open(self) -> Database:
        self._opened = Database(self.home.prepare(), self._usable().durability)
        return self._opened

    def _usable(self) -> BackgroundConfig:
        """What is sound of the configuration: only a launch needs all of it."""
        return read(self.home).config


def _told(task: Task) -> Answer:
    """A task in few words: without what is not known, and without what the model said itself."""
    result = task.result if task.result is None or len(task.result) <= SHOWN else f"{task.result[:SHOWN]}…"
    found = replace(task, result=result, prompt=None, args=None, kwargs=None).to_json()
    quiet = ("cwd", "parentMessageId", "slot", "pid", "priority", "maxAttempts", "metadata", "resultTruncated")
    return {name: value for name, value in found.items() if value not in (None, [], {}, False) and name not in quiet}
