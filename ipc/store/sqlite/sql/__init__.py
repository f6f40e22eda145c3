"""The statements: one per file, named by its purpose, with a comment in the first line."""

from __future__ import annotations

import functools
from pathlib import Path

from ....model.fields import Spec
from ....model.task import INPUTS, TASK_SPECS

#: The SQL of fields that have other values in an event than in their columns. A task in a batch has ended.
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
    """Return the text of `<name>.sql`, with `{brief}` and `{matches}` replaced by their SQL."""
    text = (Path(__file__).parent / f"{name}.sql").read_text()
    text = text.replace("{matches}", _conditions()) if "{matches}" in text else text
    return text.replace("{brief}", _brief()) if "{brief}" in text else text


def load_all_statements() -> None:
    """Read all statements, because an upgrade may replace the files while this process runs."""
    for path in Path(__file__).parent.glob("*.sql"):
        statement(path.stem)


@functools.cache
def statement_for(name: str, columns: tuple[str, ...]) -> str:
    """Return the INSERT of `<name>.sql` for these columns, with positional values."""
    return f"{statement(name)}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _conditions() -> str:
    """Return the conditions of a filter, for a table with the columns of `tasks`."""
    return statement("match_tasks").partition("WHERE\n")[2].rstrip()


def _brief() -> str:
    """Return the arguments of json_object() for the brief of the task `t` with the input `i`."""
    return ", ".join(f"'{spec.json_name}', {_json_of(spec)}" for spec in TASK_SPECS if spec.name not in INPUTS)


def _json_of(spec: Spec) -> str:
    if spec.name in _COMPUTED:
        return _COMPUTED[spec.name]
    column = f"{'t' if spec.table == 'tasks' else 'i'}.{spec.column}"
    absent = "NULL" if spec.default is None else "'[]'" if spec.default == () else "'{}'"
    return _AS_JSON[spec.codec.name].format(column=column, absent=absent)
