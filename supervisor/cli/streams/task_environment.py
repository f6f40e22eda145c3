"""The environment of a task, as `show --env` prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ....ipc.config.environment import inherited, layered, matches
from ....ipc.errors import NotFound
from ....ipc.machine.presence import Presence
from ....ipc.machine.proc import environment
from ....ipc.model.claim import decoded_environment
from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..printing import note

#: Takes the place of a secret.
MASK = "********"

#: The names of variables that probably hold a secret.
_SECRETS = ("*KEY*", "*TOKEN*", "*SECRET*", "*PASSW*", "*CREDENTIAL*", "*_PAT", "*_AUTH")

#: The password in a URL.
_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")


def task_environment(context: Context, task: Task) -> dict[str, str]:
    """Return the variables of a task, with secrets masked.

    Those of a running process are the real ones. For other tasks they are put together like at the start of the task.
    Raises NotFound.
    """
    columns = _columns(context, task.id)
    secrets = frozenset(json.loads(columns["secret_env"] or "[]"))
    variables = _of_process(task) or _expected(context, task, columns)
    return {name: _masked(name, variables[name], secrets) for name in sorted(variables) if name}


def _columns(context: Context, id: str) -> Mapping[str, str | None]:
    tasks = context.tasks.store.tasks
    state = tasks.state(id)
    stored = [] if state is None else tasks.stored(state.number - 1, 1)
    if not stored or stored[0].task.id != id:
        raise NotFound(f"There is no task {id} in {context.home.folder}.", field="id")
    return stored[0].columns


def _of_process(task: Task) -> dict[str, str]:
    """Return the environment of the first process of a running command or agent."""
    if task.status is not TaskStatus.RUNNING or task.pid is None or task.call is not None:
        return {}
    found = environment(task.pid)
    return found if found.get("BACKBURNER_TASK_ID") == task.id else {}


def _expected(context: Context, task: Task, columns: Mapping[str, str | None]) -> dict[str, str]:
    supervisor = Presence(context.home).holder("supervisor")
    if supervisor is None:
        note("no supervisor is running, so its variables are not shown")
    base = {} if supervisor is None else environment(supervisor)
    config = context.config
    given = config.agent(task.agent).env if task.agent in config.agent_names else {}
    named = decoded_environment(columns["env"])
    values = {name: base.get(name) if value is None else value for name, value in named.items()}
    merged: dict[str, str | None] = {
        **layered(inherited(base), decoded_environment(columns["launcher_env"])),
        **given,
        **values,
        "PWD": task.cwd,
        "BACKBURNER_HOME": str(context.home.folder),
        "BACKBURNER_TASK_ID": task.id,
        "BACKBURNER_PARENT_SESSION_ID": task.parent_session_id,
    }
    return {name: value for name, value in merged.items() if value is not None}


def _masked(name: str, value: str, secrets: frozenset[str]) -> str:
    if value and (name in secrets or matches(name.upper(), _SECRETS)):
        return MASK
    return _PASSWORD.sub(rf"\1:{MASK}", value)
