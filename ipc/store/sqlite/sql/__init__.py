"""The statements: one per file, named by its purpose, with a comment in the first line."""

from __future__ import annotations

import functools
from pathlib import Path

from ....model.fields import Spec
from ....model.task import INPUTS, TASK_SPECS

#: Fields of a task whose values in an event differ from their columns'. A task in a batch has ended.
_COMPUTED = {
    "stopping": "json('false')",
    "waiting_for": "NULL",
    "result": "coalesce(t.brief, t.result)",
    "result_truncated": "json(iif(t.result_truncated OR t.brief IS NOT NULL, 'true', 'false'))",
}

#: The SQL that turns a column into JSON, by the field's codec; `absent` is the JSON of an empty column.
_AS_JSON = {
    "plain": "{column}",
    "status": "{column}",
    "time": "strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1000.0, 'unixepoch')",
    "list": "json(coalesce({column}, {absent}))",
    "object": "json(coalesce({column}, {absent}))",
}


@functools.cache
def statement(name: str) -> str:
    """Return the text of `<name>.sql`, with `{brief}` replaced by the SQL of `Task.brief`."""
    text = (Path(__file__).parent / f"{name}.sql").read_text()
    return text.replace("{brief}", _brief()) if "{brief}" in text else text


@functools.cache
def statement_for(name: str, columns: tuple[str, ...]) -> str:
    """Return the INSERT of `<name>.sql` for these columns, with positional values."""
    return f"{statement(name)}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _brief() -> str:
    """Return the arguments of json_object() for the brief of the task `t` with the input `i`."""
    return ", ".join(f"'{one.json_name}', {_json_of(one)}" for one in TASK_SPECS if one.name not in INPUTS)


def _json_of(one: Spec) -> str:
    if one.name in _COMPUTED:
        return _COMPUTED[one.name]
    column = f"{'t' if one.table == 'tasks' else 'i'}.{one.column}"
    absent = "NULL" if one.default is None else "'[]'" if one.default == () else "'{}'"
    return _AS_JSON[one.codec.name].format(column=column, absent=absent)
