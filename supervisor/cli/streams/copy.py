"""Copy the streams of tasks, once or until the tasks have ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ....ipc.backoff import Backoff
from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from .sinks import Sink

if TYPE_CHECKING:
    from ....ipc.store.tasks import Output, Stream, Tasks

#: Bytes read at a time.
CHUNK = 256 * 1024
#: Seconds between two reads of a running task's output. No system call reports its growth on every platform.
FIRST_DELAY, LONGEST_DELAY = 0.01, 0.2
GROWTH = 1.5


class StreamCopy:
    """Copies one stream of a task, each byte once. If the task is retried, every attempt is copied."""

    def __init__(self, tasks: Tasks, id: str, stream: Stream, sink: Sink, on_cut: Callable[[], object] = list) -> None:
        """`on_cut` is called when the task has cut its output: what follows is new."""
        self._tasks, self._id, self._stream, self._on_cut = tasks, id, stream, on_cut
        self._sink = sink
        self._claim: int | None = None
        self._size = self._modified = 0
        self.offset = 0
        self.eof = False

    def advance(self) -> bool:
        """Copy new output. Return False if there was none."""
        previous, claim = self._claim, self._tasks.claim_of(self._id)
        copied = previous is not None and self._copy()
        if previous != claim:  # a new attempt writes to new files
            if previous is not None:
                self._sink.finish()
            self._claim, self.offset, self.eof, self._size = claim, 0, False, 0
            copied |= self._copy()
        return copied

    def finish(self) -> None:
        """Write an incomplete last line."""
        self._sink.finish()

    def _copy(self) -> bool:
        start, copied = self.offset, False
        while True:
            chunk = self._tasks.output(self._id, self._stream, self.offset, CHUNK, self._claim)
            if self._was_cut(chunk):
                self._on_cut()
                self.offset = start = self._size = 0
                continue
            self._sink.write(chunk.data)
            self.offset, self.eof, self._size, self._modified = chunk.offset, chunk.eof, chunk.size, chunk.modified
            copied |= self.offset > start
            if self.eof or not chunk.data:
                self._sink.flush()
                return copied

    def _was_cut(self, chunk: Output) -> bool:
        """Return True if the file is shorter than what was read of it, or was rewritten up to the same size."""
        if chunk.size < self.offset:
            return True
        unchanged = 0 < self.offset == self._size == chunk.size
        return unchanged and 0 not in (self._modified, chunk.modified) and chunk.modified != self._modified


def follow_task(context: Context, id: str, copies: Sequence[StreamCopy]) -> Task:
    """Copy a task's streams until it has ended and everything is copied. Return the ended task."""
    return follow_tasks(context, {id: copies})[0]


def follow_tasks(context: Context, copies: Mapping[str, Sequence[StreamCopy]]) -> list[Task]:
    """Copy the streams of several tasks until all of them have ended and everything is copied. Return the tasks."""
    from ..changes import ChangeWatch

    followed = [_Followed(context.tasks.get(id), streams) for id, streams in copies.items()]
    with ChangeWatch(context) as watch:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, GROWTH)
        while any([task.advance() for task in followed]):
            if any(task.has_copied for task in followed):
                backoff.reset()
            grows = any(task.is_running for task in followed)
            if watch.wait(backoff.next_delay() if grows else None):
                for task in followed:
                    task.refresh(context.tasks)
    return [task.task for task in followed]


class _Followed:
    """One task, and the copies of its streams."""

    def __init__(self, task: Task, copies: Sequence[StreamCopy]) -> None:
        self.task, self._copies = task, copies
        self._is_over = False
        #: True if the last call of `advance` has copied output.
        self.has_copied = False

    @property
    def is_running(self) -> bool:
        """Return True if output may grow without a change in the database."""
        return not self._is_over and self.task.status is TaskStatus.RUNNING

    def advance(self) -> bool:
        """Copy new output. Return False when the task has ended and everything is copied."""
        if self._is_over:
            return False
        self.has_copied = any([copy.advance() for copy in self._copies])
        if self.task.status.ended and all(copy.eof for copy in self._copies):
            self._is_over = True
            for copy in self._copies:
                copy.finish()
        return not self._is_over

    def refresh(self, tasks: Tasks) -> None:
        """Read the task again, unless its end is known."""
        if not self._is_over:
            self.task = tasks.get(self.task.id)
