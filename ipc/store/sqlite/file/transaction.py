"""One transaction: named statements on a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

from ..sql import statement, statement_for

#: More bytes than any result has.
UNLIMITED = 2**62

Row = sqlite3.Row
Values = Mapping[str, Any]


class Transaction:
    """The named statements of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, name: str, values: Values | None = None) -> int:
        """Run a statement, and return the number of rows that it changed."""
        return self._connection.execute(statement(name), values or {}).rowcount

    def fetch_one(self, name: str, values: Values | None = None) -> Row | None:
        """Return the first row of a statement, or None. A statement with RETURNING changes all of its rows."""
        rows = self._connection.execute(statement(name), values or {}).fetchall()
        return rows[0] if rows else None

    def fetch_all(self, name: str, values: Values | None = None) -> list[Row]:
        """Return all rows of a statement."""
        return self._connection.execute(statement(name), values or {}).fetchall()

    def fetch_some(self, name: str, values: Values, room: int) -> tuple[list[Row], bool]:
        """Return the first rows that fill `room` bytes, but at least one row. The flag is True if no rows follow."""
        rows: list[Row] = []
        with closing(self._connection.execute(statement(name), values)) as cursor:
            for row in cursor:
                rows.append(row)
                room -= sum(len(value) for value in row if isinstance(value, str | bytes))
                if room <= 0:
                    return rows, False
        return rows, True

    def fetch_page(self, name: str, values: Values, room: int) -> tuple[list[Any], bool]:
        """Return rows like `fetch_some`, but as plain tuples. Only the bytes of the last column count."""
        rows: list[Any] = []
        with closing(self._connection.execute(statement(name), values)) as cursor:
            cursor.row_factory = None
            for row in cursor:
                rows.append(row)
                room -= len(row[-1])
                if room <= 0:
                    return rows, False
        return rows, True

    def fetch_value(self, name: str, values: Values | None = None) -> Any:
        """Return the first column of the first row, or None."""
        row = self.fetch_one(name, values)
        return None if row is None else row[0]

    def setting(self, name: str) -> Any:
        """Return a setting of the home, or None."""
        return self.fetch_value("get_setting", {"name": name})

    def insert(self, name: str, row: Values) -> int:
        """Insert a row with a statement that lists its columns, and return the row's number.

        A column whose value is None is omitted and gets its default: the sqlite3 module takes ten times as long to bind
        None as to bind a number.
        """
        values = {column: value for column, value in row.items() if value is not None}
        return self._connection.execute(statement_for(name, tuple(values)), tuple(values.values())).lastrowid or 0

    def run_many(self, name: str, values: Iterator[Values] | list[dict[str, Any]]) -> int:
        """Run a statement once per set of values, and return the number of rows that were changed."""
        return self._connection.executemany(statement(name), values).rowcount

    def iterate(self, name: str, values: Values) -> Generator[tuple[Any, ...]]:
        """Yield the rows of a statement lazily, as plain tuples."""
        cursor = self._connection.execute(statement(name), values)
        cursor.row_factory = None
        with closing(cursor):
            yield from cursor
