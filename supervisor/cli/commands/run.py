"""`run`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from ....ipc.backoff import Backoff
from ....ipc.errors import HeldByWorker, MoveNotAllowed, NoSupervisor, OutputFailed, Temporary
from ....ipc.model.cause import outcome
from ....ipc.model.task import Task, TaskStatus
from ....ipc.store.queue import Launched
from ...system.interruption import Interruption, Signalled
from ..autostart import ensure_supervisor
from ..changes import ChangeWatch
from ..context import Context
from ..launch_options import LaunchCommand, launch_options
from ..options import Output, example
from ..printing import note, print_json
from ..streams.copy import FIRST_DELAY, GROWTH, LONGEST_DELAY, StreamCopy
from ..streams.view import View, copies_of
from ..text import explain_pending, short_id
from ..waiting.absence import HELP, Absence
from ..waiting.stdin import NotRepeatable, PassedInput, passed_input
from .launch import launch, parse_inputs, task_document

#: The exit code of a shell for a program that was not found.
NOT_FOUND = 127

#: The signals that cancel the task, as Ctrl-C does.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@click.command(
    "run",
    cls=LaunchCommand,
    epilog=example(
        "run -- make test",
        Output("make: *** No rule to make target 'test'.  Stop."),
        "run -- sort < names.txt",
        "run --agent claude 'Explain this folder'",
    ),
)
@launch_options
@click.option("--keep", is_flag=True, help="Let the task continue when this command is interrupted.")
@click.option("--raw", is_flag=True, help="On a terminal, too, print the output of an agent as it is.")
@click.option("--wait-for-supervisor", is_flag=True, help=HELP)
@click.pass_obj
def command(context: Context, /, words: Sequence[str], up: bool | None, as_json: bool, **options: Any) -> int:
    """Queue a task, print its output and exit with its exit code.

    If no supervisor is running, one is started in the background. The exit code is 128 plus the number of the signal
    that ended the task, and 127 if its program was not found. With --json, the ended task is printed instead of its
    output.

    Ctrl-C, SIGTERM, SIGHUP and SIGQUIT cancel the task, and so does a reader of the output that exits. With --keep the
    task continues.

    The task reads this command's stdin. A file is opened by the task, and a pipe is streamed to it. With --retries, up
    to output_limit_mb of a pipe are kept for the next attempts. From a terminal, the task reads /dev/null. It does not
    read this command's stdin if --stdin is given, or if the agent reads its prompt there. In a `while read` loop, use
    --stdin /dev/null: the task would read the rest of the loop's input.
    """
    inputs = parse_inputs(context, options, words)
    if len(inputs) != 1:
        raise click.UsageError(f"run takes one task, got {len(inputs)}", click.get_current_context())
    with Interruption(*ENDING) as interruption, passed_input(context, inputs[0]) as stdin:
        launched = launch(context, [stdin.fill(inputs[0])], options)[0]
        foreground = Foreground(context, launched, stdin, interruption, options)
        try:
            with foreground.ends_the_task():
                task = foreground.follow(up, as_json)
        except Signalled as interrupt:
            return 128 + interrupt.number
    if as_json:
        print_json(task_document(context.queue, launched))
    return _report(task)


class Foreground:
    """A task that does not outlive its command."""

    def __init__(
        self,
        context: Context,
        launched: Launched,
        stdin: PassedInput,
        interruption: Interruption,
        options: dict[str, Any],
    ) -> None:
        self._context, self._launched, self._stdin, self._interruption = context, launched, stdin, interruption
        self._keeps, self._is_raw = options["keep"], options["raw"]
        self._absence = Absence(context, options["wait_for_supervisor"])

    @contextmanager
    def ends_the_task(self) -> Iterator[None]:
        """Cancel the task if the command cannot continue within the block."""
        try:
            yield
        except BrokenPipeError:
            self._end(lambda _text: None)
            raise
        except (Signalled, NoSupervisor, NotRepeatable, OutputFailed):
            with suppress(Signalled):  # a second signal: the task is ended without this command
                self._end(note)
            raise

    def follow(self, up: bool | None, silent: bool) -> Task:
        """Start a supervisor if necessary, and copy the task's output until it has ended. Return the ended task.

        Raises MoveNotAllowed, NoSupervisor, NotRepeatable, OutputFailed, BrokenPipeError.
        """
        if not self._launched.existing:
            self._stdin.begin()
        elif type(self._stdin) is not PassedInput:
            note(f"task {short_id(self._launched.id)} was queued by another command, so it does not read this stdin")
        with self._interruption.allowed():
            self._absence.is_reported = ensure_supervisor(self._context, up)
        self._refuse_deadlock()
        with ChangeWatch(self._context) as watch:
            return self._copy(watch, silent)

    def _copy(self, watch: ChangeWatch, silent: bool) -> Task:
        task = self._context.queue.get(self._launched.id)
        self._explain(task)
        copies: list[StreamCopy] = [] if silent else copies_of(self._context, task, View(raw=self._is_raw))
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, GROWTH)
        while True:
            copied = any([copy.advance() for copy in copies])
            if task.status.ended and all(copy.eof for copy in copies):
                for copy in copies:
                    copy.finish()
                return task
            if copied:
                backoff.reset()
            self._stdin.follow(task)
            self._absence.check([task].copy)
            is_running = task.status is TaskStatus.RUNNING
            with self._interruption.allowed():
                has_changed = watch.wait(backoff.next_delay() if is_running else self._absence.interval)
            if has_changed:
                task = self._context.queue.get(self._launched.id)

    def _explain(self, task: Task) -> None:
        if sys.stderr.isatty() and task.waiting_for != "supervisor":
            explanation = explain_pending(task, self._context)
            if explanation:
                note(explanation)

    def _refuse_deadlock(self) -> None:
        """Cancel the task if it needs the slot of the task in which this command runs. Raises MoveNotAllowed."""
        try:
            self._context.queue.refuse_self_deadlock([self._launched.id])
        except MoveNotAllowed:
            if not self._launched.existing:
                self._context.queue.cancel(self._launched.id)
            raise

    def _end(self, report: Callable[[str], object]) -> None:
        """Cancel the task, unless another command launched it or it is to continue. Raises Temporary."""
        id = short_id(self._launched.id)
        if self._launched.existing:
            report(f"task {id} keeps running; to cancel it: backburner cancel {id}")
        elif self._keeps:
            self._stdin.leave()
            report(f"task {id} keeps running; to follow it: backburner output --follow {id}")
        elif self._cancel():
            report(f"task {id} was cancelled")

    def _cancel(self) -> bool:
        from .cancel import cancel_if_unfinished, wait_until_ended

        try:
            is_cancelled = cancel_if_unfinished(self._context, self._launched.id)
        except HeldByWorker as error:  # which would make the caller run this command again, with another task
            raise Temporary(f"task {self._launched.id} was not cancelled: {error}") from error
        if is_cancelled:
            with self._interruption.allowed():
                wait_until_ended(self._context, [self._launched.id])
        return is_cancelled


def _report(task: Task) -> int:
    if task.status is TaskStatus.CANCELLED:
        note(f"task {short_id(task.id)} was cancelled")
    elif task.status is TaskStatus.ERROR and task.error_kind != "exit":
        note(f"task {short_id(task.id)} {outcome(task)}")
    return exit_code(task)


def exit_code(task: Task) -> int:
    """Return the exit code that a shell would report for the task's command."""
    if task.status is TaskStatus.COMPLETED:
        return task.exit_code or 0
    if task.error_kind == "signal" and task.signal:
        return 128 + task.signal
    if task.error_kind == "spawn":
        return task.exit_code or NOT_FOUND
    return (task.error_kind == "exit" and task.exit_code) or 1
