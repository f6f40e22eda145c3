"""The state of a home as one value, for programs that load and save it whole."""

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
from .maintenance import Archive


@dataclass(frozen=True)
class BackgroundState:
    """All tasks of a home, by id, as they were at `last_updated`; `active_count` is how many ran, by key."""

    tasks: Mapping[str, Task] = field(default_factory=dict)
    active_count: Mapping[str, int] = field(default_factory=dict)
    last_updated: datetime = field(default_factory=lambda: clock.to_datetime(clock.now()))
    #: The home it was loaded from, where it is saved; None: this project's.
    home: str | None = field(default=None, compare=False)


def create_empty_state() -> BackgroundState:
    """A state without tasks, as of now."""
    return BackgroundState()


def load_background_state(home: str | os.PathLike[str] | None = None) -> BackgroundState | None:
    """The state of a home (a folder; None: this project's), oldest task first; None when there is no task.

    Raises Permanent, Temporary.
    """
    place = _find(home)
    if not place.database.exists():
        return None
    with _opened(place) as archive:
        tasks = {task.id: task for task in archive.tasks()}
    if not tasks:
        return None
    return BackgroundState(tasks, _active(tasks.values()), home=str(place.folder))


def save_background_state(state: BackgroundState) -> bool:
    """Make the tasks of a state those of its home, in one transaction; False while any task runs there.

    A task that the state calls running comes back as `error` (`lost`), a pending one will run. What a task was
    launched with and does not show stays. Raises InvalidInput, Permanent, Temporary.
    """
    with _opened(_find(state.home).prepare()) as archive:
        return archive.replace(state.tasks.values())


def clear_background_state(home: str | os.PathLike[str] | None = None) -> bool:
    """Tell what waits, cancel everything, forget all tasks, events and cursors; False if that cannot be done now.

    Raises Permanent.
    """
    place = _find(home)
    if not place.database.exists():
        return True
    try:
        with _opened(place) as archive:
            archive.clear()
    except Temporary:
        return False
    return True


def _find(home: str | os.PathLike[str] | None) -> Home:
    return Home.find(None if home is None else os.fspath(home))


@contextmanager
def _opened(home: Home) -> Iterator[Archive]:
    config = load(home)
    store = open_store(home, config, "library")
    try:
        yield Archive(store, config)
    finally:
        store.close()


def _active(tasks: Iterable[Task]) -> dict[str, int]:
    return dict(Counter(task.concurrency_key for task in tasks if task.status is TaskStatus.RUNNING))
