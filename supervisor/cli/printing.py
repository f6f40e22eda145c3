"""Output of commands: JSON, notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...ipc.model.task import Task
from .text import short

if TYPE_CHECKING:
    from ...ipc.api.maintenance import Cleared
    from ...ipc.store.importer import Loaded
    from ...ipc.store.retention import Pruned


def say(text: str) -> None:
    """Tell the person at the terminal; results go to stdout instead."""
    print(f"backburner: {text}", file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """One JSON document."""
    print(json.dumps(document, ensure_ascii=ascii_only(), indent=2))


def print_json_line(document: Any) -> None:
    """One document of a stream, on a line of its own, at once."""
    print(json.dumps(document, ensure_ascii=ascii_only()), flush=True)


def print_json_array(documents: Iterable[Mapping[str, Any]]) -> None:
    """One JSON document, an element a line, as they come."""
    separator = "["
    for document in documents:
        sys.stdout.write(f"{separator}\n{json.dumps(document, ensure_ascii=ascii_only())}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def ascii_only() -> bool:
    """Whether stdout takes nothing else."""
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def report(tasks: Sequence[Task], as_json: bool) -> None:
    """How the tasks are now."""
    if as_json:
        print_json_array(task.to_json() for task in tasks)
        return
    for task in tasks:
        print(f"{short(task.id)} {task.status}{' (stopping)' if task.stopping else ''}")


def print_task(task: Task, as_json: bool) -> None:
    """How a task is now."""
    if as_json:
        print_json(task.to_json())
    else:
        report([task], False)


def print_counts(verb: str, counts: Pruned | Cleared | Loaded | None, as_json: bool) -> None:
    """How many of what."""
    found = {} if counts is None else asdict(counts)
    if as_json:
        print_json(found)
    else:
        print(f"{verb} {', '.join(f'{number} {name}' for name, number in found.items()) or 'nothing'}")
