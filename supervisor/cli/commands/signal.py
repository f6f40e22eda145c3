"""`signal`."""

from __future__ import annotations

import signal

import click

from ....ipc.errors import MoveNotAllowed
from ....ipc.store.values import Running
from ..context import Context
from ..options import Output, example, id_argument
from ..printing import print_statuses

#: Seconds to wait for the process of a task that has just started.
PATIENCE = 2.0


class SignalName(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """The name or the number of a signal: `USR1`, `SIGUSR1`, `10` or, as for kill(1), `-USR1`."""

    name = "signal"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> signal.Signals:
        """Return the signal. Raises BadParameter."""
        text = str(value).upper().removeprefix("-")
        try:
            return signal.Signals(int(text)) if text.isdecimal() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not a signal; use a name such as USR1, or a number", param, ctx)


@click.command(
    "signal",
    context_settings={"ignore_unknown_options": True},
    epilog=example("signal 1a2b3c4d USR1", Output("1a2b3c4d running"), "signal - STOP"),
)
@id_argument
@click.argument("sig", metavar="SIG", type=SignalName())
@click.pass_obj
def command(context: Context, id: str, sig: signal.Signals) -> None:
    """Send a signal to the process group of a task's first process.

    SIG is a name such as USR1, or a number. To end a task, use `cancel`, which ends its whole process tree.
    """
    from ...system.children import signal_group

    id = context.resolve_id(id)
    running = _running(context, id)
    if running is None:
        raise MoveNotAllowed(f"Task {id} is not running ({context.tasks.get(id).status})")
    if running.pid is None or running.owner is None or not running.owner.identity.alive():
        raise MoveNotAllowed(f"Task {id} has no process that can get a signal")
    if not signal_group(running.pid, running.owner.identity.pid, sig):
        raise MoveNotAllowed(f"The first process of task {id} has ended")
    print_statuses([context.tasks.get(id)], False)


def _running(context: Context, id: str) -> Running | None:
    """Return a running task, or None. The process of a task that has just started is recorded a moment later."""
    from ..changes import wait_until

    def look() -> Running | None:
        return next((task for task in context.queue.store.hosts.running() if task.id == id), None)

    def is_settled() -> bool:
        running = look()
        return running is None or running.owner is None or running.pid is not None

    wait_until(context, is_settled, PATIENCE)
    return look()
