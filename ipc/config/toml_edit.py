"""Change single settings in the text of a TOML file. Comments, order and layout of all other lines stay."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from ..errors import InvalidInput

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"\s*(?P<key>{_PART}(?:\s*\.\s*{_PART})*)\s*=\s*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")

Path = tuple[str, ...]


class Entry(NamedTuple):
    """A table header or an assignment: its lines, its path, and its table."""

    start: int
    end: int
    path: Path
    table: Path
    is_header: bool


def parse_name(name: str) -> Path:
    """Return the keys of a dotted name, such as `model_concurrency."local/*"`. Raises InvalidInput.

    The last key of a table needs no quotes.
    """
    try:
        return _path_of(name)
    except ValueError:
        parts = name.split(".", 2 if name.startswith("agents.") else 1)
        if not all(parts):
            raise InvalidInput(f"{name!r} is not the name of a setting", field="name") from None
        return tuple(parts)


def toml_value(value: Any) -> str:
    """Return a value as TOML on one line. This is JSON, except for tables and DEL."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{toml_key(name)} = {toml_value(item)}' for name, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(name: str) -> str:
    """Return a key as TOML, with quotes if it needs them."""
    return name if _BARE.fullmatch(name) else toml_value(name)


def with_setting(text: str, path: Path, value: Any) -> str:
    """Return the text of a valid file with a setting changed or added. Raises InvalidInput if that cannot be done."""
    expected = deepcopy(tomllib.loads(text))
    table: Any = expected
    for key in path[:-1]:
        table = table.setdefault(key, {})
        _require_table(table, path)
    table[path[-1]] = value
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return _verified("".join(_set(lines, path, value, expected)), expected, path)


def without_setting(text: str, path: Path) -> str:
    """Return the text of a valid file without a setting. Raises InvalidInput if it is not set there."""
    expected = deepcopy(tomllib.loads(text))
    table: Any = expected
    for key in path[:-1]:
        table = table.get(key)
        _require_table(table, path)
    if path[-1] not in table:
        raise InvalidInput(f"{'.'.join(path)} is not set in this file", field="name")
    del table[path[-1]]
    lines = text.splitlines(keepends=True)
    entry = next((entry for entry in _entries(lines) if entry.path == path and not entry.is_header), None)
    kept = lines if entry is None else [*lines[: entry.start], *lines[entry.end :]]
    return _verified("".join(kept), expected, path)


def _require_table(table: object, path: Path) -> None:
    if not isinstance(table, dict):
        raise InvalidInput(f"{'.'.join(path)} is not set in this file", field="name")


def _verified(text: str, expected: Mapping[str, Any], path: Path) -> str:
    """Return the text if it has the expected settings: the layout of a file may be too unusual for this module."""
    try:
        found: object = tomllib.loads(text)
    except ValueError:
        found = None
    if found != expected:
        step = "change the file by hand: backburner config edit"
        raise InvalidInput(f"{'.'.join(path)} cannot be changed in this file; {step}", field="name")
    return text


def _set(lines: list[str], path: Path, value: Any, document: Mapping[str, Any]) -> list[str]:
    entries = list(_entries(lines))
    for entry in entries:
        if not entry.is_header and entry.path == path[: len(entry.path)]:
            inner: Any = document
            for key in entry.path:
                inner = inner[key]
            return [*lines[: entry.start], _assignment(lines[entry.start : entry.end], inner), *lines[entry.end :]]
    line = f"{toml_key(path[-1])} = {toml_value(value)}\n"
    place = _place(lines, entries, path)
    if place is not None:
        return [*lines[:place], line, *lines[place:]]
    gap = ["\n"] if lines and lines[-1].strip() else []
    return [*lines, *gap, f"[{'.'.join(map(toml_key, path[:-1]))}]\n", line]


def _assignment(old: Sequence[str], value: Any) -> str:
    """Return an assignment with another value, and with the key, the indentation and the comment of the old lines."""
    match = _KEY.match(old[0])
    assert match is not None, "an entry begins with its key"
    return f"{old[0][: match.end()]}{toml_value(value)}{_comment(old[-1] if len(old) > 1 else old[0])}\n"


def _comment(line: str) -> str:
    """Return the comment at the end of a line with the blanks before it, or an empty text."""
    text = line.rstrip("\n")
    for index, letter in enumerate(text):
        if letter == "#" and _is_whole(text[:index]):
            return text[len(text[:index].rstrip()) :]
    return ""


def _is_whole(text: str) -> bool:
    """Return True if no string is open at the end of a line's beginning."""
    start = _KEY.match(text)
    if start is not None:
        return _parses(text)
    return _parses(f"x = [{text}") or _parses(f"x = '''{text}") or _parses(f'x = """{text}')


def _place(lines: Sequence[str], entries: Sequence[Entry], path: Path) -> int | None:
    """Return the line before which a new assignment goes, or None if its table has no header."""
    table = path[:-1]
    members = [entry for entry in entries if entry.table == table]
    if table and not members:
        return None
    headers = [entry.start for entry in entries if entry.is_header and entry.table != table]
    first = members[0].start if members else 0
    end = next((start for start in headers if start > first or not table), len(lines))
    disabled = re.compile(rf"\s*#\s*{re.escape(toml_key(path[-1]))}\s*=")
    for index in range(first, end):
        if disabled.match(lines[index]):
            return index + 1
    if members:
        return members[-1].end
    while end > 0 and lines[end - 1].lstrip().startswith("#") and end < len(lines):
        end -= 1  # the comment above a header belongs to its table
    return end


def _entries(lines: Sequence[str]) -> Iterator[Entry]:
    """Yield the headers and assignments of a valid file, in order."""
    table: Path = ()
    index = 0
    while index < len(lines):
        line = lines[index].strip()
        end = index + 1
        if line.startswith("["):
            table = _path_of(line.partition("#")[0].strip().strip("[]")) if not line.startswith("[[") else ("[[",)
            yield Entry(index, end, table, table, True)
        elif line and not line.startswith("#"):
            while not _parses("".join(lines[index:end])) and end < len(lines):
                end += 1
            match = _KEY.match(lines[index])
            if match is not None:
                yield Entry(index, end, (*table, *_path_of(match["key"])), table, False)
        index = end


def _path_of(key: str) -> Path:
    """Return the keys of a dotted key of TOML. Raises ValueError."""
    document: Any = tomllib.loads(f"{key} = 0")
    path: list[str] = []
    while isinstance(document, dict):
        if len(document) != 1:
            raise ValueError(key)
        ((name, document),) = document.items()
        path.append(name)
    return tuple(path)


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
