"""Additions to JSON text, with or without comments, that leave every other byte as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: What may stand between two tokens.
_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
#: What may follow a token on its line and is about it.
_ASIDE = re.compile(r"(?:[ \t]*(?://[^\n]*|/\*[^\n]*?\*/))*")
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}/]+')


@dataclass
class Node:
    """A value, and where in the text it stands."""

    start: int
    end: int
    value: Any
    #: What it holds: members by name, or elements by place; and where a comma after the last one ends.
    members: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str | int, int] = field(default_factory=dict)
    comma: int | None = None


def parse(text: str) -> Node:
    """Read a whole text; an empty one is an empty object that is not there yet. Raises ValueError."""
    start = _skip(text, 0)
    if start == len(text):
        return Node(start, start, {})
    node = _value(text, start)
    if _skip(text, node.end) != len(text):
        raise ValueError("something follows the end of the document")
    return node


def add(text: str, path: Sequence[str], key: str | None, value: Any) -> str:
    """The text with `value` as the last member `key`, or (None) the last element, of what is at `path`.

    What is missing on the way is made. Raises ValueError where something else is in the way.
    """
    node = parse(text)
    if node.start == node.end:
        comment = text if not text or text.endswith("\n") else text + "\n"
        return comment + json.dumps(_wrapped(path, key, value), indent=2, ensure_ascii=False) + "\n"
    for place, name in enumerate(path):
        _expect(node, dict)
        if name not in node.members:
            return _put(text, node, name, _wrapped(path[place + 1 :], key, value))
        node = node.members[name]
    _expect(node, list if key is None else dict)
    return _put(text, node, key, value)


def change(text: str, path: Sequence[str | int], value: Any) -> str:
    """The text with `value` in place of what is at `path`; what is equal in both stays as it is written.

    Raises ValueError.
    """
    there = found(text, path)
    if there == value:
        return text
    for place in _shared(there, value):
        text = change(text, (*path, place), value[place])
    return text if found(text, path) == value else _replaced(text, path, value)


def remove(text: str, path: Sequence[str | int]) -> str:
    """The text without the member or element at `path`, and without what holds nothing else, not even a comment."""
    text = _cut(text, path)
    while path := path[:-1]:
        node = _at(text, path)
        if node is None or not isinstance(node.value, (dict, list)) or text[node.start + 1 : node.end - 1].strip():
            break
        text = _cut(text, path)
    return text


def found(text: str, path: Sequence[str | int]) -> Any:
    """The value at `path`, or None. Raises ValueError."""
    node = _at(text, path)
    return node.value if node else None


def _at(text: str, path: Sequence[str | int]) -> Node | None:
    node: Node | None = parse(text)
    for name in path:
        node = node and node.members.get(name)
    return node


def _cut(text: str, path: Sequence[str | int]) -> str:
    """The text without a value, its name, and the comma that it needed; comments stay."""
    text = _without_comments_within(text, path)
    node = _at(text, path[:-1])
    if node is None or path[-1] not in node.members:
        return text
    names = list(node.members)
    place = names.index(path[-1])
    start, end = node.keys[path[-1]], node.members[path[-1]].end
    if place > 0:
        former = node.members[names[place - 1]].end
        comma = _skip(text, former)
        return text[:former] + _joined(text[former:comma] + text[comma + 1 : start].rstrip(), text[end:])
    if len(names) > 1:
        comma = _skip(text, end)
        comments, rest = text[end:comma].strip(), text[comma + 1 :]
        return text[:start] + (_joined(comments, rest) if comments else rest.lstrip())
    return _emptied(text, node, start, end)


def _without_comments_within(text: str, path: Sequence[str | int]) -> str:
    """The text with the comments between a member's name and its value behind the value."""
    node = _at(text, path[:-1])
    if node is None or path[-1] not in node.members or isinstance(path[-1], int):
        return text
    name, value = _SCALAR.match(text, node.keys[path[-1]]), node.members[path[-1]]
    assert name is not None, "it was read"
    colon = _skip(text, name.end())
    comments = (text[name.end() : colon] + text[colon + 1 : value.start]).rstrip()
    return text[: value.end] + _joined(comments, text[value.end :])


def _emptied(text: str, node: Node, start: int, end: int) -> str:
    """The text without the only member."""
    rest = text[end:] if node.comma is None else text[end : node.comma - 1] + text[node.comma :]
    comments, inside = text[node.start + 1 : start].rstrip(), len(rest) - len(text) + node.end - 1
    return text[: node.start + 1] + _joined(comments, rest if comments or rest[:inside].strip() else rest[inside:])


def _joined(comments: str, rest: str) -> str:
    """Both, with a new line between them where the last comment would otherwise go on."""
    is_line_over = "\n" in rest[: len(rest) - len(rest.lstrip())]
    is_open = "//" in comments[comments.rfind("\n") + 1 :]
    return comments + ("\n" if is_open and not is_line_over else "") + rest


def _shared(there: Any, value: Any) -> Sequence[str | int]:
    """Where two values that are built alike have parts; nothing where they are not."""
    if isinstance(there, dict) and isinstance(value, dict) and there.keys() == value.keys():
        return list(there)
    alike = isinstance(there, list) and isinstance(value, list) and len(there) == len(value)
    return range(len(there)) if alike else ()


def _replaced(text: str, path: Sequence[str | int], value: Any) -> str:
    node = parse(text)
    for name in path:
        node = node.members[name]
    is_one_line = "\n" not in text[node.start : node.end]
    new = json.dumps(value, ensure_ascii=False) if is_one_line else _dumped(value, _indent(text, node.start))
    return text[: node.start] + new + text[node.end :]


def _expect(node: Node, kind: type) -> None:
    if not isinstance(node.value, kind):
        raise ValueError(f"expected {'an object' if kind is dict else 'a list'}, found {json.dumps(node.value)[:40]}")


def _wrapped(path: Sequence[str], key: str | None, value: Any) -> Any:
    found: Any = [value] if key is None else {key: value}
    for name in reversed(path):
        found = {name: found}
    return found


def _put(text: str, node: Node, key: str | None, value: Any) -> str:
    """Add a last member or element, laid out as its neighbours are."""
    name = "" if key is None else f"{json.dumps(key)}: "
    if not node.members:
        outer = _indent(text, node.start)
        inner = f"{outer}  "
        comments = text[: node.end - 1].rstrip()
        return f"{comments}\n{inner}{name}{_dumped(value, inner)}\n{outer}{text[node.end - 1 :]}"
    last = list(node.members)[-1]
    indent = _own_line(text, node.keys[last])
    end = node.members[last].end
    at = end if node.comma is None else node.comma
    before = text[:at] + ("," if node.comma is None else "")
    if indent is None:
        return f"{before} {name}{json.dumps(value, ensure_ascii=False)}{text[at:]}"
    aside = _ASIDE.match(text, at)
    assert aside is not None, "it matches nothing, too"
    return f"{before}{aside[0]}\n{indent}{name}{_dumped(value, indent)}{text[aside.end() :]}"


def _dumped(value: Any, indent: str) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", f"\n{indent}")


def _indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _own_line(text: str, at: int) -> str | None:
    """What stands before a token on its line, if that is only white space."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line if "\n" in text[:at] and not line.strip() else None


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _value(text: str, at: int) -> Node:
    if text[at : at + 1] in ("{", "["):
        return _container(text, at)
    found = _SCALAR.match(text, at)
    if found is None:
        raise ValueError(f"no value at character {at}")
    return Node(at, found.end(), json.loads(found[0]))


def _container(text: str, start: int) -> Node:
    is_object = text[start] == "{"
    node = Node(start, start, {} if is_object else [])
    at = _skip(text, start + 1)
    while text[at : at + 1] != ("}" if is_object else "]"):
        if node.members and node.comma is None:
            raise ValueError(f"no comma at character {at}")
        at = _skip(text, _member(text, at, node, is_object))
        node.comma = at + 1 if text[at : at + 1] == "," else None
        at = at if node.comma is None else _skip(text, node.comma)
    node.end = at + 1
    return node


def _member(text: str, at: int, node: Node, is_object: bool) -> int:
    """Read one; where it ends."""
    name: str | int = len(node.members)
    begin = at
    if is_object:
        key = _value(text, at)
        at = _skip(text, key.end)
        if not isinstance(key.value, str) or text[at : at + 1] != ":":
            raise ValueError(f"no name at character {begin}")
        name, at = key.value, _skip(text, at + 1)
    found = _value(text, at)
    node.members[name], node.keys[name] = found, begin
    if is_object:
        node.value[name] = found.value
    else:
        node.value.append(found.value)
    return found.end
