"""The variables that the options of a launch name, and those that its environment hands on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ....ipc.config.environment import EVERYTHING
from ....ipc.config.launcher import Launcher, own_umask
from ....ipc.errors import InvalidInput
from ....ipc.mistakes import describe


def launcher(options: Mapping[str, Any]) -> Launcher | None:
    """Return this process as the launcher of a task. A task like another one keeps the environment of that one."""
    if options["like"] is not None and not options["inherit_env"]:
        return None
    return Launcher(os.environ, own_umask(), None, EVERYTHING if options["inherit_env"] else None)


def named_variables(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of `--env-file` and `--env`. Raises InvalidInput."""
    variables: dict[str, str] = {}
    for path in options["env_file"]:
        for place, entry in _entries(path):
            variables |= _variable(entry, place)
    for entry in options["env"]:
        variables |= _variable(entry, "--env")
    return variables


def _variable(entry: str, place: str) -> dict[str, str]:
    name, equals, value = entry.partition("=")
    if equals:
        return {name: value}
    if not name.isidentifier():
        raise InvalidInput(f"{place}: expected NAME=VALUE, got {describe(entry)}", field="env")
    if name not in os.environ:
        raise InvalidInput(f"{place}: {name} is not set here; use {name}=VALUE", field="env")
    return {name: os.environ[name]}


def _entries(path: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a file of variables, each with its place: «FILE, line 3»."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            lines: Sequence[str] = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"--env-file: cannot read {path}: {reason}", field="env") from error
    for number, line in enumerate(lines, 1):
        entry = line.strip().removeprefix("export ").lstrip()
        if entry and not entry.startswith("#"):
            place = f"--env-file: {path}, line {number}"
            if entry.startswith("="):
                raise InvalidInput(f"{place}: expected NAME=VALUE", field="env")
            yield place, _without_quotes(entry)


def _without_quotes(entry: str) -> str:
    name, equals, value = entry.partition("=")
    value = value.strip()
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return f"{name.rstrip()}{equals}{value[1:-1] if is_quoted else value}"
