"""Start a supervisor in the background for tasks that a command has just queued."""

from __future__ import annotations

import os

from ...ipc.errors import AlreadyRunning, BackburnerError
from ...ipc.machine.presence import Presence
from .context import Context
from .options import TASK_VARIABLE
from .printing import note

#: The text of the option `--up/--no-up`.
UP_HELP = "Start a supervisor in the background if none is running; with --no-up the task waits. [default: autostart]"


def ensure_supervisor(context: Context, up: bool | None) -> bool:
    """Start a supervisor if none is running, unless `--no-up` or the setting `autostart` prevents it.

    Return False if no supervisor is running and nothing was reported on stderr. A failed start raises no error,
    because the tasks are already accepted: a caller that took them for refused would queue them twice.
    """
    if Presence(context.home).is_held("supervisor"):
        return True
    if up is None and context.config.autostart and os.environ.get(TASK_VARIABLE):
        note(f"the task waits: no supervisor is running for {context.home.folder}, and none is started inside a task")
        return True
    return (context.config.autostart if up is None else up) and _start(context)


def _start(context: Context) -> bool:
    from ...ipc.api.control import start

    try:
        start(context.home)
    except AlreadyRunning:  # another command was faster
        return True
    except (BackburnerError, OSError) as error:
        note(f"the task waits, since no supervisor could be started (backburner up --detach): {error}")
        return True
    note(f"started a supervisor for {context.home.folder}; to stop it: backburner down")
    return True
