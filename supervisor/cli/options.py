"""What several commands take, and how they answer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

#: What names the session on whose behalf one works, the first that is set.
PARENT_VARIABLES = ("BACKBURNER_PARENT", "CLAUDE_CODE_SESSION_ID")


def example(*lines: str) -> str:
    """The end of a help text."""
    return "\n".join(["\b", "Example:", *(f"  backburner {line}" for line in lines)])


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def id_argument(command: Command) -> Command:
    """One task."""
    return click.argument("id", metavar="ID", shell_complete=complete_id)(command)


def ids_argument(command: Command) -> Command:
    """Several tasks, or none."""
    return click.argument("ids", metavar="ID...", nargs=-1, shell_complete=complete_id)(command)


def complete_id(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The newest tasks' ids that start so."""
    from contextlib import suppress

    from ...ipc.errors import BackburnerError
    from ...ipc.store.tasks import Filter
    from .context import Desk

    found: list[str] = []
    with Desk() as desk, suppress(BackburnerError):
        desk.named = ctx.find_root().params.get("home")
        found = [short(task.id) for task in desk.tasks.list(Filter()).tasks]
    return [id for id in found if id.startswith(incomplete)]


def short(id: str) -> str:
    """A task's id as it is shown: 8 digits."""
    return id.removeprefix("bg-")[:8]


def counted(number: int, thing: str) -> str:
    """«1 task», «2 tasks»."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def own_parent() -> str | None:
    """The session on whose behalf this command was started, if it says so."""
    return next((os.environ[name] for name in PARENT_VARIABLES if os.environ.get(name)), None)


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
