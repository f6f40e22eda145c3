"""Tables of settings, fields and parameters. The page describes each row, the code adds types and defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any

from backburner.ipc.bus.protocol import document
from backburner.ipc.config.settings import AgentConfig, BackgroundConfig

#: The page on which every method of the socket has a section.
SOCKET_PAGE = "reference/socket.md"

_TABLE = re.compile(r"^<!-- columns: (\S+) -->\n+((?:\|.*\n)+)", re.MULTILINE)
_METHOD = re.compile(r"^<!-- method: (\S+) -->$", re.MULTILINE)
_NAME = re.compile(r"^\|\s*`([\w-]+)`\s*\|")

#: The fields that every event has. They have a separate table.
EVENT_HEAD = ("seq", "type", "at", "parentSessionId")

Columns = Mapping[str, tuple[str, ...]]


def with_columns(markdown: str) -> str:
    """Return a page with the generated columns of its tables. Raises ValueError if rows are missing or unknown."""
    described: dict[str, list[str]] = {}
    page = _TABLE.sub(lambda found: _completed(found, described), markdown)
    for source, names in described.items():
        _refuse_difference(source, names, _columns(source)[1])
    return page


def check_methods(page: str, markdown: str) -> None:
    """Raise ValueError unless the page of the socket describes exactly the methods of the socket."""
    if page == SOCKET_PAGE:
        _refuse_difference("methods", _METHOD.findall(markdown), schema()["methods"])


def method(name: str) -> str:
    """Return the parameters and the result of a method of the socket."""
    found = schema()["methods"][name]
    title = found["params"].get("title")
    params = f"Parameters: [{title}](#launchinput)." if title == "LaunchInput" else _params(found["params"])
    return f"{params}\n\n{_result(found['result'])}"


@cache
def schema() -> dict[str, Any]:
    """Return the document of `backburner schema`."""
    return document()


def type_of(shape: Mapping[str, Any]) -> str:
    """Describe the type of a JSON Schema in a few words."""
    options = shape.get("anyOf", [])
    if options:
        return " or ".join(type_of(one) for one in options)
    if "enum" in shape:
        return " ".join(f"`{value}`" for value in shape["enum"])
    kinds = shape.get("type", "any JSON value")
    names = [_kind(kind, shape) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return " or ".join(names)


def _kind(kind: str, shape: Mapping[str, Any]) -> str:
    if kind == "array":
        return f"list of {type_of(shape['items'])}" if shape.get("items") else "list"
    if kind == "object":
        return (
            f"[{_LINKS[shape['title']][0]}]({_LINKS[shape['title']][1]})" if shape.get("title") in _LINKS else "object"
        )
    if kind == "string":
        return next((word for start, word in _PATTERNS.items() if shape.get("pattern", "").startswith(start)), "text")
    return {"integer": "whole number", "boolean": "true or false"}.get(kind, kind) + _bounds(kind, shape)


def _bounds(kind: str, shape: Mapping[str, Any]) -> str:
    low, high = shape.get("minimum"), shape.get("maximum")
    if kind not in ("integer", "number") or low is None:
        return ""
    if high is None or high >= ENDLESS:
        return f", at least {low}" if low else ""
    return f", {low} to {high}" if low != high else f": {low}"


#: A maximum from this number on does not matter, such as ten years in seconds.
ENDLESS = 10**8

#: The names of texts, by the beginning of their pattern.
_PATTERNS = {r"^(?:bg-": "task ID", r"^(?:\d{4}-": "time"}

#: The shapes that have a section on a page: the text and the target of a link to it.
_LINKS = {
    "Task": ("Task", "socket.md#task"),
    "BriefTask": ("Task", "socket.md#task"),
    "LaunchedTask": ("Task", "socket.md#task"),
    "LaunchInput": ("LaunchInput", "socket.md#launchinput"),
}


def _params(params: Mapping[str, Any]) -> str:
    required = params.get("required", ())
    rows = [
        f"| `{name}` | {type_of(shape)} | {'yes' if name in required else ''} |"
        for name, shape in params.get("properties", {}).items()
    ]
    if not rows:
        return "No parameters."
    return "\n".join(["| parameter | type | required |", "| --- | --- | --- |", *rows])


def _result(result: Mapping[str, Any]) -> str:
    if result.get("title") in _LINKS:
        return f"Result: a {type_of(result)}."
    named = [f"`{name}` ({type_of(shape)})" for name, shape in result.get("properties", {}).items()]
    return f"Result: {', '.join(named)}." if named else "Result: an empty object."


def _completed(found: re.Match[str], described: dict[str, list[str]]) -> str:
    """Return a table with further columns, and note the names of its rows."""
    source, table = found.groups()
    heads, columns = _columns(source)
    head, rule, *rows = table.splitlines()
    lines = [_row(head, heads), _row(rule, ["---"] * len(heads))]
    for row in rows:
        name = _NAME.match(row)
        if name is None or name[1] not in columns:
            raise ValueError(f"the table of {source} has a row that the code does not know: {row}")
        described.setdefault(source, []).append(name[1])
        lines.append(_row(row, columns[name[1]]))
    return "\n".join(lines) + "\n"


def _row(row: str, cells: Any) -> str:
    """Return a row with cells added after its first one."""
    _, first, rest = row.split("|", 2)
    added = "".join(f" {cell} |" for cell in cells)
    return f"|{first}|{added}{rest}"


def _columns(source: str) -> tuple[tuple[str, ...], Columns]:
    """Return the heads of the columns that a source adds, and its cells by name."""
    return _SOURCES[source]() if source in _SOURCES else _of_shape(source)


def _of_shape(name: str) -> tuple[tuple[str, ...], Columns]:
    shape = schema()["$defs"].get(name) or schema()["methods"]["launch"]["params"]
    left_out = EVENT_HEAD if name.startswith(("background_", "log_")) else ()
    properties = {field: one for field, one in shape["properties"].items() if field not in left_out}
    return ("type",), {field: (type_of(one),) for field, one in properties.items()}


def _of_settings() -> tuple[tuple[str, ...], Columns]:
    return ("default", "values"), {one.name: (_default(one), _values(one)) for one in fields(BackgroundConfig)}


def _of_agent() -> tuple[tuple[str, ...], Columns]:
    return ("values",), {one.name: (_values(one),) for one in fields(AgentConfig)}


def _default(field: Field[Any]) -> str:
    made = field.default if field.default is not MISSING else getattr(BackgroundConfig(), field.name)
    return f"`{json.dumps(list(made) if isinstance(made, tuple) else made)}`"


def _values(field: Field[Any]) -> str:
    shape = field.metadata["shape"]
    found = type_of(shape.schema())
    return str(shape.expected).replace("|", "\\|") if found == "text" else found


_SOURCES: Mapping[str, Callable[[], tuple[tuple[str, ...], Columns]]] = {
    "settings": _of_settings,
    "agent": _of_agent,
}


def _refuse_difference(source: str, names: list[str], known: Mapping[str, Any]) -> None:
    missing, unknown = sorted(known.keys() - set(names)), sorted(set(names) - known.keys())
    twice = sorted({name for name in names if names.count(name) > 1})
    if missing or unknown or twice:
        raise ValueError(f"{source}: not described: {missing}; unknown: {unknown}; described twice: {twice}")
