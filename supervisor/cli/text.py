"""Tasks, times and durations in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ipc import clock
from ...ipc.model.task import Task, TaskStatus
from .context import Desk

if TYPE_CHECKING:
    from ...ipc.store.groups import Group


START_ONE = "start one: backburner up --detach"


def short(id: str) -> str:
    """A task's id as it is shown: 8 digits."""
    return id.removeprefix("bg-")[:8]


def counted(number: int, thing: str) -> str:
    """«1 task», «2 tasks»."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def spoken(milliseconds: float) -> str:
    """A duration in at most two units: «850 ms», «12 s», «3 m 20 s», «2 d 4 h»."""
    if milliseconds < 1000:
        return f"{round(milliseconds)} ms"
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{milliseconds / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
    sizes = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    first = next(place for place, (_, size) in enumerate(sizes) if seconds >= size)
    parts = [(seconds // sizes[first][1], sizes[first][0])]
    rest, size = seconds % sizes[first][1], sizes[first + 1]
    if rest // size[1]:
        parts.append((rest // size[1], size[0]))
    return " ".join(f"{number} {unit}" for number, unit in parts)


def hour(seconds: float) -> str:
    """A moment as the clock on the wall shows it, with the day where it is another one."""
    from datetime import datetime

    then, now = datetime.fromtimestamp(seconds).astimezone(), clock.to_datetime(clock.now()).astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def what(task: Task) -> str:
    """What a task is about, in a line."""
    if task.description:
        return task.description
    if task.command:
        return " ".join(task.command)
    return task.call or task.agent


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
