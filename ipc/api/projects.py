"""All state directories of the user, each opened to read it. A broken one is reported and does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import BackburnerError
from ..home import NAME, Home
from ..machine.home_registry import registered
from ..store import open_reading
from ..store.interface import Store

Result = TypeVar("Result")


class Unreadable(NamedTuple):
    """A state directory that cannot be read now."""

    home: Home
    error: str

    def to_json(self) -> dict[str, str]:
        """Return what takes the place of the state directory's own document."""
        return {"home": str(self.home.folder), "error": self.error}


def each_home(current: Home, look: Callable[[Store], Result]) -> Iterator[tuple[Home, Result] | Unreadable]:
    """Yield the result of `look` for each home in which anything was launched. The current home is one of them."""
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
    folder = home.folder.parent if home.folder.name == NAME else home.folder
    try:
        return f"~/{folder.relative_to(Path.home())}" if folder != Path.home() else "~"
    except (ValueError, RuntimeError):
        return str(folder)


def _looked(home: Home, look: Callable[[Store], Result]) -> Result:
    home.check()
    store = open_reading(home)
    try:
        return look(store)
    finally:
        store.close()
