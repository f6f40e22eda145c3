"""Words that a shell offers, such as IDs that fit the command, keys, tags, signals and settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from ...ipc.config.settings import CONFIG
from ...ipc.errors import BackburnerError
from ...ipc.model.query import Filter
from ...ipc.model.task import Task, TaskStatus
from .context import Context
from .text import short_id, title

if TYPE_CHECKING:
    Words = Iterator[tuple[str, str | None]]

_PENDING, _RUNNING = (TaskStatus.PENDING,), (TaskStatus.RUNNING,)
_UNFINISHED, _FAILED = (*_PENDING, *_RUNNING), (TaskStatus.ERROR, TaskStatus.CANCELLED)
_ENDED = (TaskStatus.COMPLETED, *_FAILED)

#: The statuses of the tasks that a command takes. Other commands take tasks of any status.
STATUSES = {
    "cancel": _UNFINISHED,
    "wait": _UNFINISHED,
    "edit": _PENDING,
    "complete": _RUNNING,
    "fail": _RUNNING,
    "progress": _RUNNING,
    "signal": _RUNNING,
    "retry": _FAILED,
    "rm": _ENDED,
}

#: The newest tasks of each status that are offered.
NEWEST = 50


def offer_words(command: click.Command) -> None:
    """Let the shell complete the parameters of a command, or of the commands of a group, that have known values."""
    for parameter in command.params:
        source = _SOURCES.get(parameter.name or "") or _SOURCES.get((parameter.metavar or "").strip("[].").lower())
        if source is not None:
            parameter._custom_shell_complete = _completer(source)
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        offer_words(inner)


def _completer(
    source: Callable[[Context, click.Context], Words],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        with Context() as context:
            context.home_option = ctx.find_root().params.get("home")
            words = dict(_existing(source(context, ctx)))
        return [CompletionItem(word, help=text) for word, text in words.items() if word.startswith(incomplete)]

    return complete


def _existing(words: Words) -> Words:
    """Return the words, or those before an error: a shell that completes a word shows no messages."""
    with suppress(BackburnerError, OSError):
        yield from words


def _ids(context: Context, ctx: click.Context) -> Words:
    tasks = _tasks(context, STATUSES.get(ctx.info_name or "", ()))
    return ((short_id(task.id), f"{task.status}: {title(task)}"[:60]) for task in tasks)


def _ids_of_any_status(context: Context, _ctx: click.Context) -> Words:
    return ((short_id(task.id), f"{task.status}: {title(task)}"[:60]) for task in _tasks(context, ()))


def _tasks(context: Context, statuses: Iterable[TaskStatus]) -> Iterator[Task]:
    yield from context.tasks.list(Filter(statuses=tuple(statuses), limit=NEWEST)).tasks


def _keys(context: Context, _ctx: click.Context) -> Words:
    from ...ipc.store.groups import Groups

    yield from ((key, None) for key in sorted(context.config.model_concurrency))
    if context.has_database:
        yield from ((group.name, None) for group in Groups(context.store, context.config).all())
        yield from ((task.concurrency_key, None) for task in _tasks(context, ()))


def _agents(context: Context, _ctx: click.Context) -> Words:
    return ((name, None) for name in sorted(context.config.agent_names))


def _tags(context: Context, _ctx: click.Context) -> Words:
    return ((tag, None) for task in _tasks(context, ()) for tag in task.tags)


def _signals(_context: Context, _ctx: click.Context) -> Words:
    return ((name.removeprefix("SIG"), None) for name in signal.Signals.__members__)


def _names(context: Context, ctx: click.Context) -> Words:
    """Return the settings, or the agents, where the group has commands that take one."""
    group = ctx.parent.info_name if ctx.parent else None
    if group == "config":
        return ((name, None) for name in CONFIG.fields)
    return _agents(context, ctx) if group == "agents" else iter(())


def _commands(_context: Context, ctx: click.Context) -> Words:
    root = ctx.find_root()
    if ctx.info_name == "help" and isinstance(root.command, click.Group):
        yield from ((name, None) for name in root.command.list_commands(root))


def _sessions(context: Context, _ctx: click.Context) -> Words:
    return ((task.parent_session_id, None) for task in _tasks(context, ()) if task.parent_session_id)


#: Where the words come from, by the name of the parameter or by its metavar in lower case.
_SOURCES: dict[str, Callable[[Context, click.Context], Words]] = {
    "id": _ids,
    "ids": _ids,
    "session": _sessions,
    "key": _keys,
    "agent": _agents,
    "after": _ids_of_any_status,
    "after_any": _ids_of_any_status,
    "resume": _ids_of_any_status,
    "like": _ids_of_any_status,
    "tags": _tags,
    "sig": _signals,
    "name": _names,
    "command": _commands,
}


def complete_command(command: list[str], incomplete: str) -> list[CompletionItem]:
    """Return the words for the argv of a task: a program of the PATH first, then files."""
    if command or "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in sorted(set(_programs(incomplete)))]


def _programs(start: str) -> Iterator[str]:
    for folder in os.get_exec_path():
        with suppress(OSError):
            for path in Path(folder).iterdir():
                if path.name.startswith(start) and os.access(path, os.X_OK):
                    yield path.name
