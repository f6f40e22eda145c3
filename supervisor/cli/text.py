"""Text for people: tasks, times and durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ipc import clock
from ...ipc.model.task import Task, TaskStatus, command_line
from ...ipc.text.counts import count_of as count_of
from ...ipc.text.durations import format_duration as format_duration
from .context import Context

if TYPE_CHECKING:
    from ...ipc.store.values import Group


#: The number of characters of a prompt in which its first line is searched.
MAX_TITLE = 400


def short_id(id: str) -> str:
    """Return a task's ID as it is displayed: 8 digits."""
    return id.removeprefix("bg-")[:8]


def title(task: Task) -> str:
    """Return one line about a task: its description, command, callable, the start of its prompt, or its agent."""
    if task.description:
        return task.description
    if task.command:
        return command_line(task.command)
    first_line = next(filter(None, map(str.strip, (task.prompt or "")[:MAX_TITLE].splitlines())), "")
    return task.call or first_line or task.agent


def local_time(seconds: float) -> str:
    """Return a time (seconds since 1970) in the local time zone, with its date unless that is today."""
    from datetime import datetime

    then, now = datetime.fromtimestamp(seconds).astimezone(), clock.to_datetime(clock.now()).astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def no_supervisor(context: Context) -> str:
    """Return the message for a home without a supervisor, with the command that starts one."""
    return f"no supervisor is running for {context.home.folder}; start one: backburner up --detach"


def waiting_reason(task: Task) -> str:
    """Return what a pending task waits for, in a word or two. Return an empty string for other tasks."""
    if task.waiting_for == "delay" and task.not_before is not None:
        return f"delay until {local_time(task.not_before.timestamp())}"
    return task.waiting_for or ""


def explain_pending(task: Task, context: Context) -> str | None:
    """Return the reason why a pending task has not started, or None if there is none."""
    if task.status is not TaskStatus.PENDING:
        return None
    if task.waiting_for == "delay" and task.not_before is not None:
        rest = max(0.0, task.not_before.timestamp() * 1000 - clock.now())
        return f"pending: starts in {format_duration(rest)}, at {local_time(task.not_before.timestamp())}"
    if task.waiting_for == "dependency":
        return f"pending: starts after {', '.join(map(short_id, task.after))}"
    return _explain_group(task, context)


def _explain_group(task: Task, context: Context) -> str | None:
    if task.waiting_for == "supervisor":
        return f"pending: {no_supervisor(context)}"
    if task.waiting_for == "cap":
        return f"pending: max_workers ({context.config.max_workers}) tasks are already running"
    if task.waiting_for not in ("slot", "paused"):
        return None
    group = _group_of(task, context)
    if task.waiting_for == "slot" and not 0 < group.limit <= group.running and context.config.shared_limits:
        return _explain_shared_limit(task, context)
    if task.waiting_for == "paused":
        return f"pending: '{group.name}' is paused; to resume it: backburner resume '{group.name}'"
    ahead = max(0, group.pending - 1)
    in_use = f"{group.running} of {group.limit} slots of '{group.name}' are in use"
    return f"queued: {in_use}, {count_of(ahead, 'task')} ahead"


def _explain_shared_limit(task: Task, context: Context) -> str | None:
    from ...ipc.config.limits import SharedPools

    pools = SharedPools(context.config.shared_limits)
    pool = pools.pool(task.concurrency_key)
    if pool is None:
        return None
    return f"queued: all {count_of(pools.limits[pool], 'slot')} of the shared limit '{pool}' are in use"


def _group_of(task: Task, context: Context) -> Group:
    from ...ipc.store.groups import Groups

    groups = Groups(context.store, context.config)
    name = groups.limits().group(task.concurrency_key)
    return next(group for group in groups.all() if group.name == name)
