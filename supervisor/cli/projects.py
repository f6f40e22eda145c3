"""All state directories of the user, each opened to read it. A broken one is reported and does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import click

from ...ipc.errors import BackburnerError
from ...ipc.home import Home
from ...ipc.store.interface import Store

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., object])


class Unreadable(NamedTuple):
    """A state directory that cannot be read now."""

    home: Home
    error: str

    def to_json(self) -> dict[str, str]:
        """Return what takes the place of the state directory's own document."""
        return {"home": str(self.home.folder), "error": self.error}


def all_projects_option(command: Command) -> Command:
    """Add `--all-projects` and `-A`."""
    help = "Show all state directories in which you have started a supervisor."
    return click.option("-A", "--all-projects", is_flag=True, help=help)(command)


def each_home(current: Home, look: Callable[[Store], Result]) -> Iterator[tuple[Home, Result] | Unreadable]:
    """Yield the result of `look` for each home in which anything was launched. The current home is one of them."""
    from ...ipc.machine.home_registry import registered

    homes = {home.folder.resolve(): home for home in (current, *registered())}
    for folder in sorted(homes):
        home = homes[folder]
        try:
            if home.database.exists():
                yield home, _looked(home, look)
        except (BackburnerError, OSError) as error:
            yield Unreadable(home, str(error))


def project_name(home: Home) -> str:
    """Return the folder that a state directory belongs to, as a user would write it."""
    from pathlib import Path

    from ...ipc.home import NAME

    folder = home.folder.parent if home.folder.name == NAME else home.folder
    try:
        return f"~/{folder.relative_to(Path.home())}" if folder != Path.home() else "~"
    except (ValueError, RuntimeError):
        return str(folder)


def _looked(home: Home, look: Callable[[Store], Result]) -> Result:
    from ...ipc.store import open_reading

    home.check()
    store = open_reading(home)
    try:
        return look(store)
    finally:
        store.close()
