"""The batches that people get: the ends of tasks without a session, and of tasks that notify a person.

They are formed from the event log and handed to the `on_batch` command. Nothing is added to the log, and nothing is
sent on the bus. Two cursors record what was delivered, so the next process continues there.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...ipc import clock
from ...ipc.config.files import on_batch
from ...ipc.config.settings import BackgroundConfig
from ...ipc.model.batch import batch_totals
from ...ipc.model.event import ALL_SESSIONS, BATCH, ENDED, Line, frame_of
from ...ipc.store.interface import Store
from ...ipc.store.values import PAGE_BYTES

#: The cursor of the `on_batch` command in the batches of sessions.
CONSUMER = "on_batch"
#: The cursors of tasks without a session, and of tasks that notify a person by themselves.
PEOPLE, PERSON = "on_batch:people", "on_batch:person"
#: The number of events that may be read again after a restart.
MAX_READ_AGAIN = 10_000


class _End(NamedTuple):
    """An event that a task has ended, as an object, and its number."""

    seq: int
    event: dict[str, Any]


class _Formed(NamedTuple):
    """A batch that was formed, the cursor that it moves, and the number of ends in it."""

    line: Line
    cursor: str
    size: int


def prepare_cursors(store: Store) -> bool:
    """Let a command that is new get only later ends. Forget the place of a command that was removed.

    The supervisor calls this before it starts tasks, so that no end comes before the cursors. Return True if the
    command was known.
    """
    log, is_wanted = store.events, bool(on_batch())
    known = log.cursors(ALL_SESSIONS)
    for cursor in (CONSUMER, PEOPLE, PERSON):
        if not is_wanted:
            log.dismiss(ALL_SESSIONS, cursor)
        elif cursor not in known:
            log.acknowledge(ALL_SESSIONS, cursor, log.last_seq())
    return is_wanted and CONSUMER in known


class People:
    """Collects ends, and forms batches from them when they are due. One batch at a time is formed."""

    def __init__(self, store: Store) -> None:
        """Start without ends. Call `configure` next."""
        self._store, self._log = store, store.events
        self._waiting: dict[str, deque[_End]] = {PEOPLE: deque(), PERSON: deque()}
        self._formed: _Formed | None = None
        self._window_ends = 0.0
        self._cursors = dict.fromkeys(self._waiting, 0)
        self._size, self._window = 1, 0.0

    def configure(self, config: BackgroundConfig) -> None:
        """Use the window and the size of batches."""
        self._size = config.notification_max_batch
        self._window = config.notification_batch_window_ms / 1000

    def restart(self) -> int:
        """Forget the ends in memory, and return the number of the event after which they have to be read again."""
        for ends in self._waiting.values():
            ends.clear()
        self._formed = None
        self._cursors = {cursor: self._log.cursor(ALL_SESSIONS, cursor) for cursor in self._waiting}
        return min(self._cursors.values())

    def take(self, lines: Sequence[Line]) -> None:
        """Collect the ends of a page of the log that were not delivered before."""
        ends = [_End(line.seq, json.loads(line.text)) for line in lines if self._may_count(line)]
        if not ends:
            return
        by_themselves, _ = self._store.tasks.for_people([end.event["taskId"] for end in ends])
        for end in ends:
            is_single = end.event["taskId"] in by_themselves
            if is_single or end.event["parentSessionId"] is None:
                self._add(PERSON if is_single else PEOPLE, end)

    def count(self) -> int:
        """Return the number of ends that wait."""
        return sum(map(len, self._waiting.values()))

    def due(self) -> float | None:
        """Return the seconds until a batch is due, or None if no end waits."""
        if self._formed or self._waiting[PERSON] or len(self._waiting[PEOPLE]) >= self._size:
            return 0.0
        return max(0.0, self._window_ends - clock.monotonic()) if self._waiting[PEOPLE] else None

    def flush(self) -> None:
        """End the window now."""
        self._window_ends = 0.0

    def advance(self, seq: int) -> None:
        """Move the cursors to the event `seq`, which was read, if no end waits, so that it is not read again."""
        for cursor, ends in self._waiting.items():
            if not ends and seq - self._cursors[cursor] >= MAX_READ_AGAIN:
                self._log.acknowledge(ALL_SESSIONS, cursor, seq)
                self._cursors[cursor] = seq

    def next(self) -> Line | None:
        """Return the batch that is due, which stays the same until it is delivered, or None."""
        while self._formed is None and self.due() == 0.0:
            cursor = PERSON if self._waiting[PERSON] else PEOPLE
            self._formed = self._form(cursor)
        return self._formed and self._formed.line

    def is_next(self, line: Line) -> bool:
        """Return True if `next` has returned this batch."""
        return self._formed is not None and self._formed.line is line

    def delivered(self) -> None:
        """Record that the batch of `next` was delivered."""
        assert self._formed is not None, "it was delivered"
        self._drop(self._formed.cursor, self._formed.size)
        self._formed = None

    def _may_count(self, line: Line) -> bool:
        return line.type == ENDED and line.seq > min(self._cursors.values())

    def _add(self, cursor: str, end: _End) -> None:
        if end.seq <= self._cursors[cursor]:
            return
        if cursor == PEOPLE and not self._waiting[cursor]:
            self._window_ends = clock.monotonic() + self._window
        self._waiting[cursor].append(end)

    def _form(self, cursor: str) -> _Formed | None:
        """Form a batch of the first ends. Ends of tasks that were deleted are dropped."""
        size = 1 if cursor == PERSON else self._size
        ends = [*self._waiting[cursor]][:size]
        tasks = list(_up_to(PAGE_BYTES, (self._task_at(end) for end in ends)))
        ends = ends[: len(tasks)]
        kept = [task for task in tasks if task is not None]
        if not kept:
            self._drop(cursor, len(ends))
            return None
        return _Formed(self._batch(ends[-1], kept), cursor, len(ends))

    def _batch(self, last: _End, tasks: Sequence[dict[str, Any]]) -> Line:
        parent = last.event["parentSessionId"]
        event = {"seq": last.seq, "type": BATCH, "at": last.event["at"], "parentSessionId": parent, "tasks": tasks}
        totals = batch_totals([task["status"] for task in tasks], self._is_all_complete(last))
        return Line(last.seq, BATCH, parent, frame_of(BATCH, {**event, **totals}))

    def _is_all_complete(self, last: _End) -> bool:
        """Return True if the session of the last end, or people, wait for nothing else."""
        if last.event["parentSessionId"] is not None:
            return not self._store.tasks.unfinished(last.event["parentSessionId"])
        _, is_busy = self._store.tasks.for_people(())
        return not is_busy and all(end.seq <= last.seq for end in self._waiting[PEOPLE])

    def _task_at(self, end: _End) -> dict[str, Any] | None:
        """Return the task as it was when it ended. It may have been retried since."""
        task = self._store.tasks.get(end.event["taskId"])
        if task is None:
            return None
        then = {name: end.event[name] for name in ("sessionId", "status", "result", "error", "errorKind")}
        return {**task.brief(), **then, "completedAt": end.event["at"], "waitingFor": None}

    def _drop(self, cursor: str, count: int) -> None:
        """Move the cursor behind the first ends, and begin another window for the rest."""
        ends = self._waiting[cursor]
        self._log.acknowledge(ALL_SESSIONS, cursor, ends[count - 1].seq)
        self._cursors[cursor] = ends[count - 1].seq
        for _ in range(count):
            ends.popleft()
        if cursor == PEOPLE:
            self._window_ends = clock.monotonic() + self._window


def _up_to(room: int, tasks: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    """Yield tasks until they have this size as JSON, and at least one."""
    for task in tasks:
        yield task
        room -= len(json.dumps(task))
        if room <= 0:
            return
