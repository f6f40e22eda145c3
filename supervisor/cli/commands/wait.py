"""`wait`."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import click

from ....ipc import clock
from ....ipc.api.waiting import deadline
from ....ipc.model.task import Task, TaskStatus
from ....ipc.model.wait import Wait
from ...system.interruption import Interruption, Signalled
from ..changes import ChangeWatch
from ..context import Context
from ..input.duration import DURATION
from ..options import Output, example, ids_argument, json_option
from ..printing import note, print_json
from ..text import count_of, format_duration, short_id
from ..waiting.absence import HELP, Absence
from ..waiting.display import NoDisplay, display_of
from ..waiting.failures import print_failures

TIMED_OUT = 124

#: The maximum number of tasks that are examined for the need of a supervisor.
SAMPLE = 1000

#: The maximum number of tasks that a command for another wait names.
MANY = 20


@click.command(
    "wait",
    epilog=example(
        "wait 1a2b3c4d 5e6f7a8b",
        Output("2 background tasks completed successfully."),
        "wait --timeout 1s -",
        Output("backburner: timed out after 1.0 s: 1 of 1 task unfinished"),
    ),
)
@ids_argument
@click.option("--parent", metavar="SESSION", help="Wait for all unfinished tasks of this session.")
@click.option("--any", "any_one", is_flag=True, help="Return when one of the tasks has ended.")
@click.option("--fail-fast", is_flag=True, help="Return when one of the tasks has failed or was cancelled.")
@click.option(
    "--timeout",
    type=DURATION,
    metavar="DURATION",
    help="Exit with 124 if the tasks have not ended after this time (90s, 1h30m). [default: no timeout]",
)
@click.option("--wait-for-supervisor", is_flag=True, help=f"{HELP} With --timeout, that is the limit.")
@json_option
@click.pass_obj
def command(context: Context, /, *, ids: Sequence[str], parent: str | None, as_json: bool, **options: Any) -> int:
    """Wait until tasks have ended.

    Waits for the named tasks, the unfinished tasks of a session, or all unfinished tasks. Exits with 1 if any of them
    failed or was cancelled. On a terminal, one line shows how far they are.
    """
    if not context.has_database and not ids:
        return _report(context, [], False, as_json)
    waiting = Waiting(context, Wait(_selected(context, ids, parent), any=options["any_one"]), options)
    try:
        with Interruption(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as interruption:
            tasks = waiting.wait(interruption)
    except Signalled as interrupt:
        note(f"interrupted; to continue to wait: {waiting.command(parent)}")
        return 128 + interrupt.number
    return _report(context, tasks, waiting.is_timed_out, as_json)


def _selected(context: Context, ids: Sequence[str], parent: str | None) -> list[str]:
    selected = [context.resolve_id(id) for id in ids]
    return selected if ids and parent is None else [*selected, *context.queue.unfinished(parent)]


class Waiting:
    """One wait on the command line."""

    def __init__(self, context: Context, wait: Wait, options: dict[str, Any]) -> None:
        self._context, self._wait = context, wait
        self._options = options
        self._tasks: dict[str, Task] = {}
        timeout: int | None = options["timeout"]
        self._until = deadline(None if timeout is None else timeout / 1000)
        self._absence = Absence(context, is_patient=options["wait_for_supervisor"] or timeout is not None)
        #: True if the timeout has passed.
        self.is_timed_out = False

    def wait(self, interruption: Interruption) -> list[Task]:
        """Return the tasks that have ended. Raises MoveNotAllowed, NoSupervisor, Signalled."""

        def pause(seconds: float) -> bool:
            with interruption.allowed():
                return watch.wait(seconds)

        with ChangeWatch(self._context) as watch:
            ended = self._refresh()
            self._context.tasks.refuse_self_deadlock(list(self._wait.unfinished))
            with display_of(self._context, self._wait) as display:
                self._follow(pause, display, ended)
        self._note_unfinished()
        return [self._tasks[id] for id in self._wait.ended if id in self._tasks]

    def command(self, parent: str | None) -> str:
        """Return the command that continues this wait."""
        home = ["--home", self._context.home_option] if self._context.home_option else []
        words = ["backburner", *home, "wait"]
        unfinished = [short_id(id) for id in self._wait.ids if id in self._wait.unfinished]
        if len(unfinished) <= MANY:
            words += unfinished
        elif parent is not None:
            words += ["--parent", parent]
        words += [f"--{name.replace('_', '-')}" for name in ("fail_fast", "wait_for_supervisor") if self._options[name]]
        return shlex.join([*words, *(["--any"] if self._wait.any else [])])

    def _follow(self, pause: Callable[[float], bool], display: NoDisplay, ended: Sequence[Task]) -> None:
        self._absence.prepare = display.clear
        while not self._is_over():
            self._absence.check(lambda: self._context.queue.existing(islice(self._wait.unfinished, SAMPLE)))
            display.show(ended)
            rest = self._until - clock.monotonic()
            if rest <= 0:
                self.is_timed_out = True
                return
            ended = self._refresh() if pause(min(rest, display.interval, self._absence.interval)) else []

    def _refresh(self) -> list[Task]:
        ended = self._context.queue.refresh(self._wait)
        self._tasks |= {task.id: task for task in ended}
        return ended

    def _is_over(self) -> bool:
        return self._wait.is_over or (self._options["fail_fast"] and any(map(_has_failed, self._tasks.values())))

    def _note_unfinished(self) -> None:
        unfinished = f"{len(self._wait.unfinished)} of {count_of(len(self._wait.ids), 'task')} unfinished"
        if self.is_timed_out:
            note(f"timed out after {format_duration(self._options['timeout'])}: {unfinished}")
        elif self._wait.unfinished and not self._wait.any:
            note(unfinished)


def _has_failed(task: Task) -> bool:
    return task.status is not TaskStatus.COMPLETED


def _report(context: Context, tasks: Sequence[Task], timed_out: bool, as_json: bool) -> int:
    from ....ipc.model.batch import format_batch_notification

    statuses = [task.status for task in tasks]
    completed, failed = statuses.count(TaskStatus.COMPLETED), statuses.count(TaskStatus.ERROR)
    if as_json:
        print_json({"tasks": [task.brief() for task in tasks], "timedOut": timed_out})
    elif statuses:
        print_failures(context, tasks)
        print(format_batch_notification(len(statuses), completed, failed))
    elif not timed_out:
        note("there are no unfinished tasks to wait for")
    if timed_out:
        return TIMED_OUT
    return 1 if len(statuses) > completed else 0
