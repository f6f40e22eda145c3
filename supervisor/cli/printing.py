"""The output of commands: JSON documents, short statuses, and notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...ipc.model.task import Task

if TYPE_CHECKING:
    from ...ipc.api.maintenance import Cleared
    from ...ipc.store.importer import Loaded
    from ...ipc.store.retention import Pruned


def note(text: str) -> None:
    """Print a message on stderr. Results go to stdout. It is no error if the message cannot be written."""
    with suppress(OSError):
        print(f"backburner: {text}", file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(document, ensure_ascii=_is_ascii_only(), indent=2))


def print_json_line(document: Any) -> None:
    """Print one JSON document of a stream on its own line, and flush."""
    print(json.dumps(document, ensure_ascii=_is_ascii_only()), flush=True)


def print_json_array(documents: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON array, one element a line, without keeping all of it in memory."""
    separator = "["
    for document in documents:
        sys.stdout.write(f"{separator}\n{json.dumps(document, ensure_ascii=_is_ascii_only())}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def print_statuses(tasks: Sequence[Task], as_json: bool) -> None:
    """Print the ID and the status of several tasks, one a line."""
    if as_json:
        print_json_array(task.to_json() for task in tasks)
        return
    from .text import short_id

    for task in tasks:
        print(f"{short_id(task.id)} {task.status}{' (stopping)' if task.stopping else ''}")


def print_task(task: Task, as_json: bool) -> None:
    """Print the ID and status of a task, or the whole task as JSON."""
    if as_json:
        print_json(task.to_json())
    else:
        print_statuses([task], False)


def print_counts(verb: str, counts: Pruned | Cleared | Loaded | None, as_json: bool) -> None:
    """Print the numbers of tasks, events and other items that a command changed."""
    numbers = {} if counts is None else asdict(counts)
    if as_json:
        print_json(numbers)
        return
    from ...ipc.text.counts import counted

    print(f"{verb} {', '.join(counted(number, name) for name, number in numbers.items()) or 'nothing'}")


def _is_ascii_only() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
