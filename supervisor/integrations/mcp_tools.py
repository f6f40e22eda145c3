"""The tools for an agent's model: their descriptions, and the service that runs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from ...ipc import clock
from ...ipc.api import control
from ...ipc.api.waiting import wait_until_gone
from ...ipc.backoff import Backoff
from ...ipc.bus.client import Client
from ...ipc.bus.protocol import PARAMETERS
from ...ipc.config.files import load, read
from ...ipc.config.launcher import Launcher, own_umask
from ...ipc.config.settings import BackgroundConfig
from ...ipc.errors import AlreadyRunning, Disconnected, InvalidInput, NoSupervisor, NotFound
from ...ipc.home import Home
from ...ipc.machine.presence import Presence
from ...ipc.model.event import ALL_SESSIONS
from ...ipc.model.launch import LAUNCH_FIELDS, LaunchInput, in_current_folder
from ...ipc.model.query import Filter
from ...ipc.model.task import Task
from ...ipc.model.wait import Wait
from ...ipc.store import open_store
from ...ipc.store.interface import Store
from ...ipc.store.queue import Launched, Queue
from ...ipc.store.tasks import Stream
from ...ipc.text.pieces import LONGEST_CHARACTER, decode_piece, from_next_character
from ...ipc.validation import Integer, ListOf, Nullable, Record, Schema, Shape
from .caller import Meta, SessionResolver
from .mcp_answers import MAX_ANSWER, MAX_NAME, Answer, fitting, list_answer, size, storable, summary_with_hint
from .mcp_arguments import lenient

#: The default and the maximum duration of one `wait`, in milliseconds. Clients give up on a call after 60 s.
DEFAULT_WAIT, MAX_WAIT = 45_000, 49_000
#: The maximum number of bytes of output in one answer.
MAX_OUTPUT = 12_000
#: The maximum number of tasks in one answer, and of unfinished tasks that `inbox` looks at.
MAX_TASKS = 100
#: Seconds to wait for the bus of a supervisor that is starting.
CONNECT_TIMEOUT = 10.0
#: Seconds for which a wait tries to reconnect to a closed bus while no supervisor is running.
RECONNECT_TIMEOUT = 2.0
#: The maximum number of calls of one tool that wait for the bus at the same time, each in a thread. Further calls take
#: turns.
MAX_WAITING = 32
#: The note of a wait for tasks that no supervisor will start.
DOWN = (
    "No supervisor runs for {home}, so pending tasks do not start. Do not wait again until one runs: the user starts it"
    " (backburner up --detach), or your next `launch` does."
)

INSTRUCTIONS = """\
Run work in the background and continue meanwhile. `launch` returns a task's ID at once. Each task waits for a free
slot of its model or key, runs, and ends as completed, error or cancelled.
You need not poll. When tasks of yours have ended, the next result of any of these tools ends with, or is followed by,
a block <background-tasks>. It lists what ended, how, and with which result, and is sent only once. If you have other
work, do it, or end your turn. If you cannot continue before they end, call `wait`; if it returns timedOut without a
note, call it again. `output` reads the whole output of a task, `cancel` ends a task with all its processes, `list`
shows your tasks, `inbox` shows the notifications that you have not received yet. A task keeps running when your turn,
your client or this server ends.
If an answer calls your session `cwd:…`, your client does not name your session. All sessions in this folder then
share one inbox: a notification that one of them receives is not sent to another. If there may be others, make up an ID
once and pass it as `parentSessionId` in every call."""


class Tool(NamedTuple):
    """A tool's description for the model, its parameters, and their descriptions."""

    description: str
    params: Record
    hints: Mapping[str, str]

    def schema(self) -> Schema:
        """Return the JSON Schema of the arguments. Nullable parameters are shown as optional."""
        shapes = {name: _without_null(shape) for name, shape in self.params.fields.items()}
        schema = Record(self.params.title, shapes, self.params.required).schema()
        for name, hint in self.hints.items():
            schema["properties"][name]["description"] = hint
        return schema


def _without_null(shape: Shape[Any]) -> Shape[Any]:
    return shape.shape if isinstance(shape, Nullable) else shape


_PARENT = {"parentSessionId": LAUNCH_FIELDS["parentSessionId"]}
_PARENT_HINT = {
    "parentSessionId": "your session's ID; by default the ID that your client names, else `cwd:` and the folder"
}

_ID = {"id": PARAMETERS["get"].fields["id"]}
_IDS = Nullable(ListOf(_ID["id"], non_empty=True))
_WAIT = {**PARAMETERS["wait"].fields, **_PARENT, "ids": _IDS, "timeoutMs": Nullable(Integer(0))}
_OUTPUT = {name: shape for name, shape in PARAMETERS["output"].fields.items() if name != "encoding"}

TOOLS: Mapping[str, Tool] = {
    "launch": Tool(
        "Start a task in the background: a `command` (argv, no shell), or a `prompt` for an `agent`. Returns its ID at"
        " once; you are notified when it has ended.",
        Record("launch", LAUNCH_FIELDS),
        {
            "command": 'argv, such as ["make", "test"]; for a shell: ["sh", "-c", "…"]',
            "prompt": "the complete instructions for the agent, which sees nothing of this conversation",
            "agent": "the agent that gets the prompt, by its name in the configuration",
            "model": "the model; tasks of the same model share its slots",
            "concurrencyKey": "the key whose slots the task shares, instead of the model; a key has a limited number",
            "description": "a few words by which you recognise the task",
            "cwd": "the folder in which the task runs; by default this project's",
            "after": "IDs of tasks that must have completed first",
            "timeoutMs": "stop an attempt that runs longer",
            "notify": "`person`: also notify the user of this task, as soon as it ends",
            "uniqueKey": "if an unfinished task has this name, return that task and launch nothing",
            **_PARENT_HINT,
        },
    ),
    "list": Tool(
        "List your tasks, newest first, with their status.",
        Record("list", {**PARAMETERS["list"].fields}),
        {
            "status": "a status, or a list of several",
            "text": "words in the description, command or prompt",
            "since": "only tasks that were queued, started or ended then or later",
            "parentSessionId": "list another session's tasks; * for all sessions",
            "cursor": "`next` of the page before",
        },
    ),
    "output": Tool(
        "Read a task's output, also while it runs. Continue from the returned `offset` until `eof`.",
        Record("output", {**_OUTPUT, **_PARENT}, required=("id",)),
        {"offset": "the first byte", "limit": f"maximum number of bytes; {MAX_OUTPUT} at most", **_PARENT_HINT},
    ),
    "wait": Tool(
        "Wait until tasks have ended: those with these `ids`, or all of yours; with `any`, until one of them has."
        " Returns the tasks that have ended. If `timedOut` is true, others have not: call it again.",
        Record("wait", _WAIT),
        {"timeoutMs": f"{DEFAULT_WAIT} by default, {MAX_WAIT} at most", **_PARENT_HINT},
    ),
    "cancel": Tool(
        "Cancel a task and end all its processes. Returns when they have ended.",
        Record("cancel", {**_ID, **_PARENT}, required=("id",)),
        _PARENT_HINT,
    ),
    "inbox": Tool(
        "Show the notifications that you have not received yet, and your unfinished tasks.",
        Record("inbox", _PARENT),
        _PARENT_HINT,
    ),
}


class ToolService:
    """Runs tool calls in one state directory, for the clients of one server process."""

    def __init__(self, home: Home, sessions: SessionResolver) -> None:
        """Open nothing yet, because the first launch creates the state directory."""
        self.home = home
        self._sessions = sessions
        self._opened: Store | None = None
        self._starting = asyncio.Lock()
        self._waits = ThreadPoolExecutor(MAX_WAITING, "backburner-wait")
        self._cancels = ThreadPoolExecutor(MAX_WAITING, "backburner-cancel")  # must not wait for a `wait`

    @property
    def store(self) -> Store | None:
        """Return the store, if it exists. Raises BadHome, Temporary, Permanent."""
        if self._opened is None and self.home.database.exists():
            self._open()
        return self._opened

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the checked arguments of a call. Raises InvalidInput."""
        if name not in TOOLS:
            raise InvalidInput(f"unknown tool {name[:MAX_NAME]}; known tools: {', '.join(TOOLS)}")
        return TOOLS[name].params.check(lenient(TOOLS[name].params, arguments))

    def session(self, params: Mapping[str, Any], meta: Meta) -> str:
        """Return the session of a call. Raises BadHome, Temporary, Permanent."""
        named = params.get("parentSessionId")
        return self._sessions.session(None if named == ALL_SESSIONS else named, meta, self.store)

    def is_notified_by_hook(self, session: str, meta: Meta) -> bool:
        """Return True if a hook after the call delivers the notifications. Raises BadHome, Temporary, Permanent."""
        return self._sessions.is_notified_by_hook(session, meta, self.store)

    async def call(self, name: str, params: dict[str, Any], session: str) -> Answer:
        """Call a tool with checked arguments for a session. Raises BackburnerError."""
        blocking = {"list": self._list, "output": self._output, "inbox": self._inbox}
        if name in blocking:
            return await asyncio.to_thread(blocking[name], params, session)
        return await {"launch": self._launch, "wait": self._wait, "cancel": self._cancel}[name](params, session)

    async def _launch(self, params: dict[str, Any], session: str) -> Answer:
        launched = await asyncio.to_thread(self._queue_task, params, session)
        await self._ensure_supervisor()
        task = await asyncio.to_thread(lambda: self._queue().get(launched.id))
        return summary_with_hint(task) | {"existing": launched.existing}

    def _queue_task(self, params: dict[str, Any], session: str) -> Launched:
        config = load(self.home)
        store = self.store or self._open()
        self._sessions.remember_start(store)
        queue = Queue(store, config)
        # A hook names any session, and the folder that stands for one may be long.
        session = LAUNCH_FIELDS["parentSessionId"].check(session, "parentSessionId")
        task = LaunchInput.from_checked_json({**params, "parentSessionId": session})
        return queue.launch(in_current_folder(task), Launcher(os.environ, own_umask()))

    def _list(self, params: dict[str, Any], session: str) -> Answer:
        if self.store is None:
            return {"tasks": [], "next": None}
        is_all = params.get("parentSessionId") == ALL_SESSIONS
        filter = Filter.of_parameters(params, parent=None if is_all else session)
        limit = wanted = min(params.get("limit") or 20, MAX_TASKS)
        while True:
            page = self._queue().list(filter._replace(limit=limit))
            tasks, fits = fitting(page.tasks)
            if fits:
                break
            limit = len(tasks)  # `next` must follow the last task of the answer
        way = "The next page: `cursor` with this `next`."
        return list_answer("tasks", (tasks, limit == wanted), way, next=page.next)

    def _output(self, params: dict[str, Any], _session: str) -> Answer:
        stream: Stream = "stderr" if params.get("stream") == "stderr" else "stdout"
        offset, limit = params.get("offset") or 0, min(params.get("limit") or MAX_OUTPUT, MAX_OUTPUT)
        queue = self._queue()
        id = queue.find(params["id"])
        while True:
            piece = queue.output(id, stream, offset, max(limit, LONGEST_CHARACTER))
            data, incomplete = decode_piece(from_next_character(piece.data), piece.eof)
            answer = {"data": data, "offset": piece.offset - incomplete, "eof": piece.eof}
            if (length := size(answer)) <= MAX_ANSWER:
                return answer
            limit = limit * MAX_ANSWER // length  # each control character takes up to 7 bytes

    async def _wait(self, params: dict[str, Any], session: str) -> Answer:
        ids = await asyncio.to_thread(self._tasks_to_wait_for, params, session)
        timeout = params.get("timeoutMs")
        request: dict[str, Any] = {"ids": ids, "any": bool(params.get("any"))}
        if ids:
            seconds = min(DEFAULT_WAIT if timeout is None else timeout, MAX_WAIT) / 1000
            await self._wait_until(clock.monotonic() + seconds, request)
        return await asyncio.to_thread(self._wait_result, **request)

    def _tasks_to_wait_for(self, params: dict[str, Any], session: str) -> list[str]:
        if params.get("ids"):
            queue = self._queue()
            return [queue.find(id) for id in params["ids"]]
        return [] if self.store is None else self._queue().unfinished(session)

    async def _wait_until(self, end: float, request: Mapping[str, Any]) -> None:
        """Wait for the tasks until `end`. Start no supervisor, because the user may have stopped it."""
        timeout, backoff = 0.0 if self._is_down() else RECONNECT_TIMEOUT, Backoff()
        while True:
            remaining = max(0.0, end - clock.monotonic())
            try:
                with Client(self.home, min(remaining, timeout)) as client:
                    return await self._in_thread(self._waits, self._wait_on_bus, client, end, request)
            except Disconnected:
                timeout, is_gone = RECONNECT_TIMEOUT, False  # a restart opens another bus
            except NoSupervisor:
                is_gone = self._is_down()
            if is_gone or remaining == 0:
                return None
            await asyncio.sleep(min(remaining, backoff.next_delay()))  # a bus may disconnect at once, repeatedly

    def _wait_on_bus(self, client: Client, end: float, request: Mapping[str, Any]) -> None:
        remaining = max(0.0, end - clock.monotonic())  # the call may have waited for a thread
        client.call("wait", **request, timeoutMs=round(remaining * 1000))

    def _wait_result(self, ids: Sequence[str], any: bool) -> Answer:
        wait = Wait(ids, any=any)
        ended = self._queue().refresh(wait) if ids else []
        way = "The others: the tool `list`, or `wait` with their ids."
        answer = list_answer("tasks", fitting(ended), way, timedOut=not wait.is_over)
        if wait.is_over or not self._is_down():
            return answer
        note = storable(DOWN.format(home=self.home.folder))
        return answer | {"note": note, "hint": " ".join(filter(None, [note, answer.get("hint")]))}

    async def _cancel(self, params: dict[str, Any], _session: str) -> Answer:
        id = await asyncio.to_thread(lambda: self._queue().find(params["id"]))
        backoff = Backoff()
        while not (task := await self._try_to_cancel(id)).status.ended:
            await asyncio.sleep(backoff.next_delay())
        return summary_with_hint(task)

    async def _try_to_cancel(self, id: str) -> Task:
        """Try to cancel a task, and return it. If this call is cancelled, only its wait ends."""
        if self._is_down():
            await asyncio.to_thread(self._cancel_without_supervisor, id)
        else:
            with suppress(Disconnected, NoSupervisor), Client(self.home, CONNECT_TIMEOUT) as client:
                await self._in_thread(self._cancels, client.call, "cancel", id=id)
        return await asyncio.to_thread(lambda: self._queue().get(id))

    def _cancel_without_supervisor(self, id: str) -> None:
        queue = self._queue()
        queue.cancel(id)
        wait_until_gone(queue, [id])

    def _inbox(self, _params: dict[str, Any], session: str) -> Answer:
        """Return the unfinished tasks. The notifications are appended to the answer, as to every answer."""
        queue = None if self.store is None else self._queue()
        ids = queue.unfinished(session) if queue else []
        tasks, fits = fitting(queue.existing(ids[:MAX_TASKS]) if queue else [])
        listed = (tasks, fits and len(ids) <= MAX_TASKS)
        return list_answer("unfinished", listed, "The others: the tool `list`.", parentSessionId=session)

    async def _in_thread(self, threads: Executor, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """Run a call of a client, and close the client. That also frees the thread of a cancelled call."""
        await asyncio.get_running_loop().run_in_executor(threads, partial(call, *arguments, **options))

    def _is_down(self) -> bool:
        return not Presence(self.home).is_held("supervisor")

    async def _ensure_supervisor(self) -> None:
        async with self._starting:
            if self._is_down():
                with suppress(AlreadyRunning):  # another process was faster
                    await asyncio.to_thread(control.start, self.home)

    def _queue(self) -> Queue:
        if self.store is None:
            raise NotFound(f"no task exists in {self.home.folder}", field="id")
        return Queue(self.store, self._valid_config())

    def _open(self) -> Store:
        self._opened = open_store(self.home.prepare(), self._valid_config(), "mcp")
        return self._opened

    def _valid_config(self) -> BackgroundConfig:
        """Return the valid part of the configuration, because only a launch needs all of it."""
        return read(self.home).config
