"""Load and save all tasks of a state directory as one value."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from .. import clock
from ..config.files import load
from ..errors import Temporary
from ..home import Home
from ..model.task import Task, TaskStatus
from ..store import open_store
from .maintenance import Maintenance


@dataclass(frozen=True)
class BackgroundState:
    """All tasks of a state directory by ID, as of `last_updated`. `active_count` counts the running ones by key."""

    tasks: Mapping[str, Task] = field(default_factory=dict)
    active_count: Mapping[str, int] = field(default_factory=dict)
    last_updated: datetime = field(default_factory=lambda: clock.to_datetime(clock.now()))
    #: The state directory from which the state was loaded, and to which it is saved. None means the current project's.
    home: str | None = field(default=None, compare=False)


def create_empty_state() -> BackgroundState:
    """Return a state without tasks, with the current time."""
    return BackgroundState()


def load_background_state(home: str | os.PathLike[str] | None = None) -> BackgroundState | None:
    """Return the tasks of a state directory, oldest first, or None if it has no task.

    `home` is the folder, by default the current project's. Raises Permanent, Temporary.
    """
    directory = _find(home)
    if not directory.database.exists():
        return None
    with _open(directory) as maintenance:
        tasks = {task.id: task for task in maintenance.tasks()}
    if not tasks:
        return None
    return BackgroundState(tasks, _count_running(tasks.values()), home=str(directory.folder))


def save_background_state(state: BackgroundState) -> bool:
    """Replace all tasks of the state directory in one transaction. Return False if a task is running there.

    A task that is running in `state` becomes `error` (`lost`), and a pending one will run. The environment, stdin and
    output of a task with the same ID are kept. Raises InvalidInput, Permanent, Temporary.
    """
    with _open(_find(state.home).prepare()) as maintenance:
        return maintenance.replace(state.tasks.values())


def clear_background_state(home: str | os.PathLike[str] | None = None) -> bool:
    """Send the waiting notifications, cancel all tasks, then delete all tasks, events and cursors.

    Return False if this is not possible now. Raises Permanent.
    """
    directory = _find(home)
    if not directory.database.exists():
        return True
    try:
        with _open(directory) as maintenance:
            maintenance.clear()
    except Temporary:
        return False
    return True


def _find(home: str | os.PathLike[str] | None) -> Home:
    return Home.find(None if home is None else os.fspath(home))


@contextmanager
def _open(home: Home) -> Iterator[Maintenance]:
    config = load(home)
    store = open_store(home, config, "library")
    try:
        yield Maintenance(store, config)
    finally:
        store.close()


def _count_running(tasks: Iterable[Task]) -> dict[str, int]:
    return dict(Counter(task.concurrency_key for task in tasks if task.status is TaskStatus.RUNNING))
