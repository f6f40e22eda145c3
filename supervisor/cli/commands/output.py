"""What a task writes: `output`, and the streams that `run` passes on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from ....ipc.backoff import Backoff
from ....ipc.model.task import Task, TaskStatus
from ..context import Desk
from ..options import example, id_argument
from ..printing import print_json

if TYPE_CHECKING:
    from ....ipc.store.tasks import Stream, Tasks

#: Bytes that are read at a time.
PIECE = 256 * 1024
#: The rests of a follower of output, which no system tells of portably, in seconds.
FIRST_REST, LONGEST_REST = 0.01, 0.2


@click.command("output", short_help="What a task wrote.", epilog=example("output 1a2b3c4d", "output --follow -"))
@id_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
@click.option(
    "--stderr",
    "stream",
    flag_value="stderr",
    default="stdout",
    help="What it wrote to stderr instead of stdout.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: data, offset and eof, as the socket tells it.")
@click.pass_obj
def command(desk: Desk, id: str, follow: bool, stream: Stream, as_json: bool) -> None:
    """What a task wrote to its stdout, byte for byte; of several tries, the last one."""
    whole = desk.find(id)
    sink = sys.stdout.buffer
    if follow:
        follow_task(desk, whole, [Pipe(desk.tasks, whole, stream, sink)])
    elif as_json:
        _print_document(desk.tasks, whole, stream)
    else:
        Pipe(desk.tasks, whole, stream, sink).drain()


class Pipe:
    """Passes one stream of a task on, each byte once; of a task that is tried again, all of each try."""

    def __init__(self, tasks: Tasks, id: str, stream: Stream, sink: BinaryIO) -> None:
        """Begin at the stream's start."""
        self._tasks, self._id, self._stream, self._sink = tasks, id, stream, sink
        self._try: int | None = None
        self.offset = 0
        self.eof = False

    def drain(self) -> bool:
        """Pass on what there is by now; whether there was anything."""
        before, now = self._try, self._tasks.try_of(self._id)
        moved = before is not None and self._pass_on()
        if before != now:  # another try writes to other files
            self._try, self.offset, self.eof = now, 0, False
            moved |= self._pass_on()
        return moved

    def _pass_on(self) -> bool:
        start = self.offset
        while True:
            piece = self._tasks.output(self._id, self._stream, self.offset, PIECE, self._try)
            self._sink.write(piece.data)
            self.offset, self.eof = piece.offset, piece.eof
            if self.eof or not piece.data:
                self._sink.flush()
                return self.offset > start


def follow_task(desk: Desk, id: str, pipes: Sequence[Pipe]) -> Task:
    """Pass on what a task writes until it has ended and all is passed on; the task as it ended."""
    from ..changes import Watch

    with Watch(desk) as watch:
        task = desk.tasks.get(id)
        backoff = Backoff(FIRST_REST, LONGEST_REST, 1.5)
        while True:
            moved = any([pipe.drain() for pipe in pipes])
            if task.status.ended and all(pipe.eof for pipe in pipes):
                return task
            if moved:
                backoff.reset()
            if watch.rest(backoff.next_delay() if task.status is TaskStatus.RUNNING else None):
                task = desk.tasks.get(id)


def _print_document(tasks: Tasks, id: str, stream: Stream) -> None:
    import io

    whole = io.BytesIO()
    pipe = Pipe(tasks, id, stream, whole)
    pipe.drain()
    text = whole.getvalue().decode(errors="replace")
    print_json({"data": text, "offset": pipe.offset, "eof": pipe.eof})
