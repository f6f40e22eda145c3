"""Translate errors of SQLite and of the system into this program's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ....errors import Damaged, InvalidInput, MoveNotAllowed, Temporary
from ....home import Home

#: This program's class for an error of SQLite, by the beginning of the error's name. The first match counts.
_KINDS: tuple[tuple[str, Callable[[str], Exception]], ...] = (
    ("SQLITE_NOTADB", Damaged),
    ("SQLITE_CORRUPT", Damaged),
    ("SQLITE_CONSTRAINT_TRIGGER", MoveNotAllowed),
    ("SQLITE_CONSTRAINT", AssertionError),  # a statement of this program violates the schema
    ("SQLITE_", Temporary),
)


class translated:
    """Raise errors of SQLite as errors of this program, with the name of the home or of the file."""

    __slots__ = ("_place",)

    def __init__(self, place: Home | Path) -> None:
        self._place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            raise_translated(self._place, error)


def raise_translated(place: Home | Path, error: BaseException) -> None:
    """Raise this program's error for an error of SQLite or of the system. Do nothing for other errors."""
    if isinstance(error, (sqlite3.Error, OSError)) and (translation := _translation(place, error)) is not None:
        raise translation from error


def _translation(place: Home | Path, error: sqlite3.Error | OSError) -> Exception | None:
    """Return the error of this program, or None if the original one is clearer."""
    path, what = (place, str(place)) if isinstance(place, Path) else (place.database, f"The database in {place.folder}")
    if isinstance(error, OSError):
        folder = path.parent if isinstance(place, Path) else f"The home {place.folder}"
        return Temporary(f"{folder} cannot be used now: {error.strerror or error}.")
    if "binding parameter" in str(error):
        return InvalidInput(f"A value has a type that cannot be stored ({error}).")
    if isinstance(error, sqlite3.ProgrammingError):
        return Temporary(f"{what} has been closed.") if "closed" in str(error) else None
    name = getattr(error, "sqlite_errorname", "")
    kind = next((kind for start, kind in _KINDS if name.startswith(start)), None)
    if kind is None:
        return None
    return kind(damage(path, error) if kind is Damaged else f"{what} does not answer ({error}).")


def damage(path: Path, why: object) -> str:
    """Return the message for a damaged database."""
    return f"{path} is damaged ({why}). It was not changed; to save its readable rows: backburner salvage"
