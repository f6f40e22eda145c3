"""The statements: one a file, named by its verb, described by its first line."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def statement(name: str) -> str:
    """The text of `<name>.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text()


@functools.cache
def statement_for(name: str, columns: tuple[str, ...]) -> str:
    """The text of `<name>.sql`, an INSERT that lists its columns, with only these columns and positional values."""
    head = statement(name).partition("(")[0]
    return f"{head}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
