"""`reload`."""

from __future__ import annotations

import click

from ....ipc.errors import BadConfiguration, NoSupervisor, Temporary
from ....ipc.machine.presence import Presence
from ....ipc.store.applied_config import last_reload
from ..changes import wait_until
from ..context import Context
from ..options import example

#: Seconds within which a supervisor must have read its files.
TIMEOUT = 30.0
#: Seconds between two checks that the supervisor is alive. The death of a process does not change the database.
CHECK_INTERVAL = 1.0


@click.command("reload", epilog=example("reload"))
@click.pass_obj
def command(context: Context) -> None:
    """Apply changed configuration files.

    Returns when the supervisor has applied them. Running tasks are not affected.
    """
    context.check_owner()
    _require_supervisor(context)
    _ = context.valid_config
    before = last_reload(context.store)
    context.home.wake("supervisor", "reload")

    def is_reloaded() -> bool:
        _require_supervisor(context)
        return last_reload(context.store) != before

    if not wait_until(context, is_reloaded, TIMEOUT, CHECK_INTERVAL):
        raise Temporary(
            f"the supervisor of {context.home.folder} has not read the files after {TIMEOUT:g} s;"
            f" see {context.home.log}"
        )
    if mistakes := last_reload(context.store).refusal:
        raise BadConfiguration(mistakes)


def _require_supervisor(context: Context) -> None:
    if not Presence(context.home).is_held("supervisor"):
        raise NoSupervisor(f"no supervisor is running for {context.home.folder}")
