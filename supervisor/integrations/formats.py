"""Edit the text of JSON, JSON with comments and TOML. The order, comments and everything else are kept."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any, cast

import json5
import tomlkit
from json5.dumper import ModelDumper
from json5.loader import DefaultLoader, ModelLoader
from json5.model import Comment, DoubleQuotedString, JSONArray, JSONObject, Value
from tomlkit.container import Container
from tomlkit.items import Table, Whitespace

Document = dict[str, Any]
Edit = Callable[[Document], None]

UNSAFE = "its layout does not allow a safe change; edit it by hand"

#: The white space and comments before, between or after the items of a container.
_Gap = list[str | Comment]
#: The nodes of each item, by name or index. They are a member's key and value, or an element.
_Items = dict[Any, list[Any]]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def edit_json(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits to JSON text, with or without comments, and return the new text. Raises ValueError."""
    text = text if text.strip() else "{}"
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return _edit(text, json5.loads, _write_json_with_comments, edits)
    return _edit(text, json.loads, _write_json, edits)


def edit_toml(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits to TOML text and return the new text. Raises ValueError."""
    return _edit(text, tomllib.loads, _write_toml, edits)


def _edit(text: str, read: Callable[[str], Any], write: Callable[[str, Document], str], edits: Iterable[Edit]) -> str:
    document = read(text)
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, found {json.dumps(document)[:40]}")
    changed = copy.deepcopy(document)
    for edit in edits:
        edit(changed)
    if changed == document:
        return text
    new = write(text, changed)
    if read(new) != changed:
        raise ValueError(UNSAFE)
    return new


def _write_json(_text: str, document: Document) -> str:
    new = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", new)


def _write_toml(text: str, document: Document) -> str:
    parsed = tomlkit.parse(text)
    _update_table(parsed, document)
    return tomlkit.dumps(parsed)


def _update_table(table: Any, wanted: Document) -> None:
    for name in [name for name in table if name not in wanted]:
        _delete(table, name)
    for name, value in wanted.items():
        existing = table.get(name)
        if isinstance(existing, dict) and isinstance(value, dict):
            _update_table(existing, value)
        elif existing != value:
            table[name] = value


def _delete(table: Any, name: str) -> None:
    """Delete an item, but not the comments after its last line, which describe the next item."""
    lines = reversed(table[name].as_string().splitlines(keepends=True))
    tail = "".join(reversed(list(takewhile(lambda line: line.strip()[:1] in ("", "#"), lines))))
    if "#" not in tail:
        del table[name]
        return
    container = table.value if isinstance(table, Table) else table
    if not isinstance(container, Container):  # a table whose parts are scattered over the file
        raise ValueError(UNSAFE)
    index = next(index for index, (key, _) in enumerate(container.body) if key is not None and key.key == name)
    container.remove(name)
    container.body[index] = (None, Whitespace(tail))


def _write_json_with_comments(text: str, document: Document) -> str:
    model = json5.loads(text, loader=ModelLoader())
    model.value = _updated(model.value, document, "\n")
    return json5.dumps(model, dumper=cast(Any, ModelDumper()))  # json-five annotates its own class out


def _updated(node: Value, wanted: Any, line: str) -> Value:
    """Return the node with the wanted value. `line` is a line break and the indent of the node's line."""
    current = DefaultLoader().load(node)
    if current == wanted:
        return node
    if isinstance(node, JSONObject) and isinstance(wanted, dict):
        if len(node.keys) > len(current):
            raise ValueError("an object has two members of the same name")
        members: _Items = {name: list(pair) for name, pair in zip(current, node.key_value_pairs, strict=True)}
        _update_items(node, members, wanted, line)
        node.keys, node.values = [key for key, _ in members.values()], [value for _, value in members.values()]
        return node
    if isinstance(node, JSONArray) and isinstance(wanted, list):
        elements: _Items = {index: [value] for index, value in enumerate(node.values)}
        _update_items(node, elements, _by_index(current, wanted), line)
        node.values = [value for (value,) in elements.values()]
        return node
    new = _parsed(wanted, line)
    new.wsc_before, new.wsc_after = node.wsc_before, node.wsc_after
    return new


def _by_index(current: list[Any], wanted: list[Any]) -> dict[int, Any]:
    """Return the wanted elements by index. Elements are changed or appended, or removed from the end."""
    if len(wanted) >= len(current):
        return dict(enumerate(wanted))
    return {index: value for index, value in enumerate(current) if value in wanted}


def _update_items(node: JSONObject | JSONArray, items: _Items, wanted: dict[Any, Any], line: str) -> None:
    """Remove, change and append items, and move the gaps between them."""
    gaps = _take_gaps(node, list(items.values()))
    for index, name in reversed(list(enumerate(items))):
        if name not in wanted:
            gaps[index : index + 2] = [_joined(gaps[index], gaps[index + 1])]
            del items[name]
    for gap, (name, item) in zip(gaps, items.items(), strict=False):
        item[-1] = _updated(item[-1], wanted[name], _line(gap) or line)
    inner = _line(gaps[-2]) if items else f"{line}  "
    for name in [name for name in wanted if name not in items]:
        items[name] = _new_item(name, wanted[name], inner)
        gaps[-1:] = _divided(gaps[-1], inner, line)
    _put_gaps(node, list(items.values()), gaps)


def _take_gaps(node: JSONObject | JSONArray, items: list[list[Any]]) -> list[_Gap]:
    gaps = [node.leading_wsc]
    for item in items:
        gaps[-1] = gaps[-1] + item[0].wsc_before
        gaps.append(item[-1].wsc_after)
        item[0].wsc_before, item[-1].wsc_after = [], []
    if node.trailing_comma:
        gaps[-1] = gaps[-1] + node.trailing_comma.wsc_after
    return gaps


def _put_gaps(node: JSONObject | JSONArray, items: list[list[Any]], gaps: list[_Gap]) -> None:
    node.leading_wsc, node.trailing_comma = gaps[0], None
    for item, gap in zip(items[1:], gaps[1:], strict=False):
        item[0].wsc_before = gap
    if items:
        items[-1][-1].wsc_after = gaps[-1]


def _joined(before: _Gap, after: _Gap) -> _Gap:
    """Return the gap that remains when the item between two gaps is removed."""
    if not _has_comment(before):
        return after
    return [*(_without_last_space(before) if _line(after) else before), *after]


def _divided(gap: _Gap, inner: str, line: str) -> list[_Gap]:
    """Return the gaps before and after an item that is appended after the last gap."""
    if not inner:
        return [gap, []] if _has_comment(gap) else [[" "], gap]
    return [[*_without_last_space(gap), inner], [line]]


def _without_last_space(gap: _Gap) -> _Gap:
    return gap[:-1] if gap and isinstance(gap[-1], str) else gap


def _has_comment(gap: _Gap) -> bool:
    return any(isinstance(part, Comment) for part in gap)


def _line(gap: _Gap) -> str:
    """Return the last line break in a gap and the indent that follows it, or an empty string."""
    space = "".join(part for part in gap if isinstance(part, str))
    return space[space.rindex("\n") :] if "\n" in space else ""


def _new_item(name: str | int, value: Any, line: str) -> list[Any]:
    node = _parsed(value, line)
    if isinstance(name, int):
        return [node]
    node.wsc_before = [" "]
    return [DoubleQuotedString(name, json.dumps(name)), node]


def _parsed(value: Any, line: str) -> Value:
    text = json.dumps(value, indent=2 if line else None, ensure_ascii=False).replace("\n", line)
    node: Value = json5.loads(text, loader=ModelLoader()).value
    return node
