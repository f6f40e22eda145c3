"""`signal`."""

from __future__ import annotations

import signal

import click

from ....ipc.errors import MoveNotAllowed
from ..context import Context
from ..options import example, id_argument
from ..printing import print_statuses


class SignalName(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """The name or the number of a signal: `USR1`, `SIGUSR1` or `10`."""

    name = "signal"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> signal.Signals:
        """Return the signal. Raises BadParameter."""
        text = str(value).upper()
        try:
            return signal.Signals(int(text)) if text.isdecimal() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not a signal; use a name such as USR1, or a number", param, ctx)


@click.command("signal", epilog=example("signal 1a2b3c4d USR1", "signal - STOP"))
@id_argument
@click.argument("sig", metavar="SIG", type=SignalName())
@click.pass_obj
def command(context: Context, id: str, sig: signal.Signals) -> None:
    """Send a signal to the process group of a task's first process.

    To end a task, use `cancel`, which ends its whole process tree.
    """
    id = context.resolve_id(id)
    running = next((task for task in context.queue.store.hosts.running() if task.id == id), None)
    if running is None:
        raise MoveNotAllowed(f"Task {id} is not running ({context.tasks.get(id).status})")
    if running.pid is None or running.owner is None or not running.owner.identity.alive():
        raise MoveNotAllowed(f"Task {id} has no process that can get a signal")
    from ...system.children import signal_group

    if not signal_group(running.pid, running.owner.identity.pid, sig):
        raise MoveNotAllowed(f"The first process of task {id} has ended")
    print_statuses([context.tasks.get(id)], False)
