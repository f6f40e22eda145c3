"""Decide how the output of tasks is shown, and build the copies that show it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from ....ipc import clock
from ....ipc.model.task import Task
from ...system.streams import Output
from ..context import Context
from ..printing import note
from ..tables import FAINT, Cell, paint, uses_colours
from ..text import short_id
from .copy import StreamCopy
from .sinks import Descriptor, Headed, Labelled, Sink, Tail

if TYPE_CHECKING:
    from ....ipc.store.tasks import Stream

BOTH: tuple[Stream, ...] = ("stdout", "stderr")


@dataclass(frozen=True)
class View:
    """How the output of tasks is shown."""

    #: The streams. A stream that is shown alone goes to stdout.
    streams: tuple[Stream, ...] = BOTH
    #: Show the last lines only.
    tail: int | None = None
    #: Show the output of an agent as it is, also on a terminal.
    raw: bool = False
    #: Show when each line arrived.
    with_times: bool = False
    #: Show to which task each line belongs.
    with_ids: bool = False
    #: Separate both streams in a terminal, because all of stdout comes before stderr.
    with_heading: bool = False


def copies_of(context: Context, task: Task, view: View | None = None) -> list[StreamCopy]:
    """Return copies of a task's streams: stdout to stdout and stderr to stderr, each byte as it was written.

    On a terminal, the output of an agent becomes messages and tool calls in lines.
    """
    shown = view or View()
    targets = [sys.stdout if len(shown.streams) == 1 or stream == "stdout" else sys.stderr for stream in shown.streams]
    descriptors = [Descriptor(_bytes_of(target)) for target in targets]
    sinks: list[Sink] = list(descriptors)
    if shown.with_heading and len(sinks) == 2 and all(target.isatty() for target in targets):
        heading = paint(Cell("stderr:", FAINT), uses_colours(targets[1]))
        sinks[1] = Headed(sinks[1], heading, descriptors[0])
    copies = []
    for stream, target, sink in zip(shown.streams, targets, sinks, strict=True):
        shaped = _shaped(context, task, sink, (stream, target, shown))
        copies.append(StreamCopy(context.tasks, task.id, stream, shaped, _note_cut(task, stream)))
    return copies


def _bytes_of(stream: TextIO) -> BinaryIO:
    """Return the byte stream below stdout or stderr, with errors that name it."""
    return stream.buffer if stream is sys.stdout else cast("BinaryIO", Output(stream.buffer, "stderr"))


def _shaped(context: Context, task: Task, sink: Sink, shown: tuple[Stream, TextIO, View]) -> Sink:
    """Return a sink that shapes the output as the view demands, and passes it on to another sink."""
    stream, target, view = shown
    if view.with_ids or view.with_times:
        sink = Labelled(sink, _label(task, view, target))
    if view.tail is not None:
        sink = Tail(sink, view.tail)
    if stream == "stdout" and target.isatty() and not view.raw:
        sink = readable(context, task, sink)
    return sink


def readable(context: Context, task: Task, sink: Sink) -> Sink:
    """Return a sink that turns the stdout of an agent into lines for people, or the same sink for other tasks."""
    if task.agent not in context.config.agent_names:
        return sink
    from .activity import activity, is_readable

    agent = context.config.agent(task.agent)
    return activity(sink, agent) if is_readable(agent) else sink


def _label(task: Task, view: View, target: TextIO) -> Callable[[], str]:
    colours, terminal = uses_colours(target), target.isatty()
    prefix = f"{short_id(task.id)} | " if view.with_ids else ""

    def label() -> str:
        return paint(Cell(prefix + (_time(terminal) + " " if view.with_times else ""), FAINT), colours)

    return label


def _time(terminal: bool) -> str:
    """Return the time: the local time of day for a terminal, else in ISO 8601."""
    now = clock.now()
    return clock.to_datetime(now).astimezone().strftime("%H:%M:%S.%f")[:-3] if terminal else clock.iso(now)


def _note_cut(task: Task, stream: Stream) -> Callable[[], object]:
    text = f"{short_id(task.id)} has cut its {stream}, and what follows is new; to append, open /dev/{stream} with >>"
    return lambda: note(text)


def stderr_hint(context: Context, task: Task, copies: Sequence[StreamCopy]) -> str | None:
    """Return a hint if a failed task wrote nothing to stdout, which was shown alone, but something to stderr."""
    if not task.error_kind or any(copy.offset for copy in copies):
        return None
    if not context.tasks.output(task.id, "stderr", 0, 1).data:
        return None
    id = short_id(task.id)
    return f"{id} wrote nothing to stdout; for its stderr: backburner output --stderr {id}"
