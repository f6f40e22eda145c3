"""`output`, and the copying of a task's streams that `run` shares with it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from ....ipc.backoff import Backoff
from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..options import example, id_argument
from ..printing import print_json

if TYPE_CHECKING:
    from ....ipc.store.tasks import Stream, Tasks

#: Bytes read at a time.
CHUNK = 256 * 1024
#: Seconds between two reads of a running task's output. No system call reports its growth on every platform.
FIRST_DELAY, LONGEST_DELAY = 0.01, 0.2
GROWTH = 1.5


@click.command("output", epilog=example("output 1a2b3c4d", "output --follow -"))
@id_argument
@click.option("--follow", "-f", is_flag=True, help="Continue until the task has ended.")
@click.option(
    "--stderr",
    "stream",
    flag_value="stderr",
    default="stdout",
    help="Print the task's stderr. [default: its stdout]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: data, offset and eof, as on the socket.")
@click.pass_obj
def command(context: Context, id: str, follow: bool, stream: Stream, as_json: bool) -> None:
    """Print a task's output.

    Prints the stdout of the last attempt, byte for byte.
    """
    full_id = context.resolve_id(id)
    sink = sys.stdout.buffer
    if follow:
        follow_task(context, full_id, [StreamCopy(context.tasks, full_id, stream, sink)])
    elif as_json:
        _print_document(context.tasks, full_id, stream)
    else:
        StreamCopy(context.tasks, full_id, stream, sink).advance()


class StreamCopy:
    """Copies one stream of a task to a file, each byte once. If the task is retried, every attempt is copied."""

    def __init__(self, tasks: Tasks, id: str, stream: Stream, sink: BinaryIO) -> None:
        self._tasks, self._id, self._stream, self._sink = tasks, id, stream, sink
        self._claim: int | None = None
        self.offset = 0
        self.eof = False

    def advance(self) -> bool:
        """Copy new output. Return False if there was none."""
        previous, claim = self._claim, self._tasks.claim_of(self._id)
        copied = previous is not None and self._copy()
        if previous != claim:  # a new attempt writes to new files
            self._claim, self.offset, self.eof = claim, 0, False
            copied |= self._copy()
        return copied

    def _copy(self) -> bool:
        start = self.offset
        while True:
            chunk = self._tasks.output(self._id, self._stream, self.offset, CHUNK, self._claim)
            self._sink.write(chunk.data)
            self.offset, self.eof = chunk.offset, chunk.eof
            if self.eof or not chunk.data:
                self._sink.flush()
                return self.offset > start


def follow_task(context: Context, id: str, copies: Sequence[StreamCopy]) -> Task:
    """Copy a task's streams until it has ended and everything is copied. Return the ended task."""
    from ..changes import ChangeWatch

    with ChangeWatch(context) as watch:
        task = context.tasks.get(id)
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, GROWTH)
        while True:
            copied = any([copy.advance() for copy in copies])
            if task.status.ended and all(copy.eof for copy in copies):
                return task
            if copied:
                backoff.reset()
            if watch.wait(backoff.next_delay() if task.status is TaskStatus.RUNNING else None):
                task = context.tasks.get(id)


def _print_document(tasks: Tasks, id: str, stream: Stream) -> None:
    data = io.BytesIO()
    copy = StreamCopy(tasks, id, stream, data)
    copy.advance()
    print_json({"data": data.getvalue().decode(errors="replace"), "offset": copy.offset, "eof": copy.eof})
