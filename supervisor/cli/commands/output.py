"""`output`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..input.duration import WholeNumber
from ..options import Output, PerTask, example, ids_argument
from ..printing import note, print_json, print_json_array
from ..streams.copy import StreamCopy, follow_tasks
from ..streams.sinks import Descriptor
from ..streams.view import BOTH, View, copies_of, stderr_hint
from ..text import explain_pending

if TYPE_CHECKING:
    from ....ipc.store.tasks import Stream

#: The number of failed tasks that are shown if no task is named.
NEWEST_FAILED = 20


@click.command(
    "output",
    epilog=example(
        "output -n 20 --failed",
        Output("make: *** No rule to make target 'test'.  Stop."),
        "output --follow --timestamps 1a2b3c4d 5e6f7a8b",
        Output("1a2b3c4d | 2026-11-29T22:21:32.957Z compiling"),
        Output("5e6f7a8b | 2026-11-29T22:21:33.958Z downloading"),
        "output --stderr - | grep error",
    ),
)
@ids_argument
@click.option("--follow", "-f", is_flag=True, help="Continue until the tasks have ended.")
@click.option("--stdout", "only_stdout", is_flag=True, help="Print the stdout alone.")
@click.option("--stderr", "only_stderr", is_flag=True, help="Print the stderr alone, on stdout.")
@click.option("--lines", "-n", type=WholeNumber(0), metavar="N", help="Print the last N lines. [default: all]")
@click.option(
    "--failed",
    is_flag=True,
    help=f"Print the output of failed tasks: of those named, or of the newest {NEWEST_FAILED}.",
)
@click.option(
    "--timestamps",
    "-t",
    is_flag=True,
    help="With --follow, print the time at which this command received each line, in UTC.",
)
@click.option("--raw", is_flag=True, help="Print the output of an agent as it is, on a terminal, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: data, offset and eof of one stream.")
@click.pass_obj
def command(context: Context, /, ids: Sequence[str], **options: Any) -> int:
    """Print the output of tasks.

    Prints what the last attempt wrote to stdout on stdout, and what it wrote to stderr on stderr. Of several tasks, the
    ID comes before each line. On a terminal, the output of an agent is shown as its messages and tool calls.
    """
    request = _Request(**options)
    request.check(ids)
    per_task = PerTask(context)
    tasks = per_task.run(ids, context.tasks.get) if ids else _failed_tasks(context)
    if request.failed:
        tasks = [task for task in tasks if task.status is TaskStatus.ERROR]
    if request.as_json:
        _print_documents(context, tasks, request, len(ids) != 1)
    elif request.follow:
        view = request.view(len(tasks) > 1)
        follow_tasks(context, {task.id: copies_of(context, task, view) for task in tasks})
    else:
        _print(context, tasks, request)
    return per_task.report_errors()


@dataclass(frozen=True)
class _Request:
    """The options of the command."""

    follow: bool
    only_stdout: bool
    only_stderr: bool
    lines: int | None
    failed: bool
    timestamps: bool
    raw: bool
    as_json: bool

    def check(self, ids: Sequence[str]) -> None:
        """Raise UsageError for options that need or exclude each other."""
        for problem in self._problems(ids):
            raise click.UsageError(problem, click.get_current_context())

    def _problems(self, ids: Sequence[str]) -> Iterator[str]:
        if not ids and not self.failed:
            yield "Missing argument 'ID'"
        if self.only_stdout and self.only_stderr:
            yield "--stdout and --stderr exclude each other; without them both are printed"
        if self.timestamps and not self.follow:
            yield "--timestamps needs --follow: the time of a line is known only when it arrives"
        if self.as_json and (self.follow or self.lines is not None):
            yield "--json cannot be combined with --follow or --lines"

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Return the streams to print."""
        if self.only_stderr:
            return ("stderr",)
        return ("stdout",) if self.only_stdout else BOTH

    def view(self, with_ids: bool) -> View:
        """Return how the output is shown."""
        return View(self.streams, self.lines, self.raw, self.timestamps, with_ids, with_heading=not self.follow)


def _failed_tasks(context: Context) -> list[Task]:
    """Return the newest failed tasks, oldest first."""
    from ....ipc.model.query import Filter

    if not context.has_database:
        return []
    newest = context.tasks.list(Filter((TaskStatus.ERROR,), limit=NEWEST_FAILED + 1)).tasks
    if len(newest) > NEWEST_FAILED:
        note(f"only the newest {NEWEST_FAILED} failed tasks are shown; to show others: backburner output ID...")
    return newest[:NEWEST_FAILED][::-1]


def _print(context: Context, tasks: Sequence[Task], request: _Request) -> None:
    for task in tasks:
        copies = copies_of(context, task, request.view(len(tasks) > 1))
        for copy in copies:
            copy.advance()
            copy.finish()
        if request.only_stdout and (hint := stderr_hint(context, task, copies)):
            note(hint)
        if sys.stderr.isatty() and (explanation := explain_pending(task, context)):
            note(explanation)


def _print_documents(context: Context, tasks: Sequence[Task], request: _Request, several: bool) -> None:
    stream: Stream = "stderr" if request.only_stderr else "stdout"
    documents = ({"id": task.id, **_document(context, task, stream)} for task in tasks)
    if several:
        print_json_array(documents)
    else:
        for task in tasks:
            print_json(_document(context, task, stream))


def _document(context: Context, task: Task, stream: Stream) -> dict[str, Any]:
    data = io.BytesIO()
    copy = StreamCopy(context.tasks, task.id, stream, Descriptor(data))
    copy.advance()
    return {"data": data.getvalue().decode(errors="replace"), "offset": copy.offset, "eof": copy.eof}
