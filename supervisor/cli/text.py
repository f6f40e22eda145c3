"""Why a task waits, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ipc import clock
from ...ipc.model.task import Task, TaskStatus
from .context import Desk
from .durations import spoken
from .options import short

if TYPE_CHECKING:
    from ...ipc.store.groups import Group

START_ONE = "start one: backburner up --detach"


def no_supervisor(desk: Desk) -> str:
    """What to say where nothing is run at present."""
    return f"no supervisor runs for {desk.home.folder}; {START_ONE}"


def reason(task: Task) -> str:
    """What a pending task waits for, in a word or two; nothing for others."""
    if task.waiting_for == "delay" and task.not_before is not None:
        return f"delay until {hour(task.not_before.timestamp())}"
    return task.waiting_for or ""


def hint(task: Task, desk: Desk) -> str | None:
    """A sentence about why a task has not started; None where nothing is in its way."""
    if task.status is not TaskStatus.PENDING:
        return None
    if task.waiting_for == "delay" and task.not_before is not None:
        rest = max(0.0, task.not_before.timestamp() * 1000 - clock.now())
        return f"pending: starts in {spoken(rest)}, at {hour(task.not_before.timestamp())}"
    if task.waiting_for == "dependency":
        return f"pending: comes after {', '.join(map(short, task.after))}"
    return _hint_of_group(task, desk)


def _hint_of_group(task: Task, desk: Desk) -> str | None:
    if task.waiting_for == "supervisor":
        return f"pending: {no_supervisor(desk)}"
    if task.waiting_for == "cap":
        return f"pending: max_workers ({desk.config.max_workers}) tasks are running already"
    if task.waiting_for not in ("slot", "paused"):
        return None
    group = _group_of(task, desk)
    if task.waiting_for == "paused":
        return f"pending: {group.name} is paused; go on: backburner resume '{group.name}'"
    ahead = max(0, group.pending - 1)
    return f"queued for {group.name}: {group.running} of {group.limit} running, {ahead} ahead"


def _group_of(task: Task, desk: Desk) -> Group:
    from ...ipc.store.groups import Groups

    groups = Groups(desk.database, desk.config)
    name = groups.limits().group(task.concurrency_key)
    return next(group for group in groups.all() if group.name == name)


def hour(seconds: float) -> str:
    """A moment as the clock on the wall shows it, with the day where it is another one."""
    from datetime import datetime

    then, now = datetime.fromtimestamp(seconds).astimezone(), clock.to_datetime(clock.now()).astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")
