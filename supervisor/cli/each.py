"""One verb for several tasks: an error about one of them does not keep it from the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import click

from ...ipc.errors import BackburnerError
from ...ipc.model.task import Task
from .context import Desk
from .options import print_json_array, short

Made = TypeVar("Made")


class Each:
    """Calls for several ids, and the errors among them."""

    def __init__(self, desk: Desk) -> None:
        """Nothing was refused yet."""
        self._desk = desk
        self._errors: list[BackburnerError] = []

    def of(self, ids: Iterable[str], act: Callable[[str], Made]) -> list[Made]:
        """What `act(whole id)` gave for each id that it did not refuse. A temporary error ends it."""
        return [made for id in ids for made in self._try(id, act)]

    def code(self) -> int:
        """Say what was refused; the exit code of the first of them, or 0."""
        from .errors import sentence

        for error in self._errors:
            print(sentence(error, self._desk), file=sys.stderr)
        return self._errors[0].exit_code if self._errors else 0

    def _try(self, id: str, act: Callable[[str], Made]) -> list[Made]:
        try:
            return [act(self._desk.find(id))]
        except BackburnerError as error:
            if error.exit_code >= 100:
                raise
            self._errors.append(error)
            return []


def require(ids: Sequence[str]) -> None:
    """Refuse to work on no task at all."""
    if not ids:
        raise click.UsageError("Missing argument 'ID...'", click.get_current_context())


def report(tasks: Sequence[Task], as_json: bool) -> None:
    """How the tasks are now."""
    if as_json:
        print_json_array(task.to_json() for task in tasks)
        return
    for task in tasks:
        print(f"{short(task.id)} {task.status}{' (stopping)' if task.stopping else ''}")
