"""The reference of the Python package, from its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import backburner

#: The page on which every public name has its section.
PAGE = "reference/python.md"

_MARK = re.compile(r"^<!-- python: (\S+) -->$", re.MULTILINE)
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields):\s*$")


def check_complete(page: str, markdown: str) -> None:
    """Raise ValueError unless the page of the package describes exactly the public names."""
    if page != PAGE:
        return
    described = set(_MARK.findall(markdown))
    aliases = {name for name in backburner.__all__ if _is_alias(name)}
    known = {name for name in backburner.__all__ if not _is_error(name)} - aliases
    if described != known:
        raise ValueError(f"{PAGE}: not described: {sorted(known - described)}; unknown: {sorted(described - known)}")


def entry(name: str) -> str:
    """Return the section of a public name, without its heading."""
    found = getattr(backburner, name)
    if not (inspect.isclass(found) or callable(found)):
        return f"An instance of `{type(found).__name__}`."
    parts = [_signature(name, found), _text(inspect.getdoc(found))]
    if inspect.isclass(found):
        parts += _members(name, found)
    return "\n\n".join(part for part in parts if part)


def error_table() -> str:
    """Return a table of the exception classes: exit code, code on the socket, base class, meaning."""
    rows = [_error_row(name) for name in sorted(backburner.__all__) if _is_error(name)]
    head = ["| exception | base class | exit code | socket | meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _is_error(name: str) -> bool:
    found = getattr(backburner, name)
    return inspect.isclass(found) and issubclass(found, Exception)


def _is_alias(name: str) -> bool:
    found = getattr(backburner, name)
    return inspect.isclass(found) and found.__name__ != name


def _error_row(name: str) -> str:
    error: Any = getattr(backburner, name)
    meaning = (inspect.getdoc(error) or "").splitlines()[0]
    return f"| `{name}` | `{error.__base__.__name__}` | {error.exit_code} | {error.rpc_code} | {meaning} |"


def _members(name: str, owner: type) -> Iterator[str]:
    if issubclass(owner, Enum):
        yield "\n".join(f"- `{name}.{member.name}` = `{member.value!r}`" for member in owner)
        return
    inherited = [base for base in owner.__mro__[1:] if base.__module__.startswith("backburner.")]
    bases = [owner, *(base for base in inherited if base.__name__ not in backburner.__all__)]
    for attribute, found in (item for base in bases for item in vars(base).items()):
        if attribute.startswith("_") or not isinstance(found, property | classmethod | staticmethod | _FUNCTION):
            continue
        yield _member(name, attribute, found)


_FUNCTION = type(lambda: None)


def _member(owner: str, name: str, found: Any) -> str:
    anchor = f"{{ #{owner}.{name} }}"
    if isinstance(found, property):
        return f"### {owner}.{name} {anchor}\n\n{_text(inspect.getdoc(found))}"
    function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    return f"### {owner}.{name} {anchor}\n\n{_signature(name, function)}\n\n{_text(inspect.getdoc(function))}"


def _signature(name: str, found: Any) -> str:
    """Return a signature in Python. A long one has a line for each parameter."""
    if inspect.isclass(found) and issubclass(found, Enum):
        return ""
    signature = inspect.signature(found)
    shown = [_parameter(one) for one in signature.parameters.values() if one.name not in ("self", "cls")]
    result = "" if inspect.isclass(found) or signature.return_annotation in _EMPTY else f" -> {_type(signature)}"
    word = "class" if inspect.isclass(found) else "async def" if inspect.iscoroutinefunction(found) else "def"
    text = f"{word} {name}({', '.join(shown)}){result}"
    if len(text) > LONGEST_LINE:
        text = f"{word} {name}(\n{''.join(f'    {one},{chr(10)}' for one in shown)}){result}"
    return f"```python\n{text}\n```"


#: The maximum number of characters of a signature on one line.
LONGEST_LINE = 100
_EMPTY = (inspect.Signature.empty, None, "None")
_STARS: Mapping[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _type(signature: inspect.Signature) -> str:
    found = signature.return_annotation
    return found if isinstance(found, str) else inspect.formatannotation(found)


def _parameter(one: inspect.Parameter) -> str:
    found = one.annotation
    text = found if isinstance(found, str) else inspect.formatannotation(found)
    name = _STARS.get(one.kind, "") + one.name
    typed = name if found is inspect.Parameter.empty else f"{name}: {text}"
    if one.default is inspect.Parameter.empty:
        return typed
    default = "..." if callable(one.default) or "factory" in repr(one.default) else repr(one.default)
    return f"{typed} = {default}"


def _text(docstring: str | None) -> str:
    """Return a docstring as Markdown: the sections of Google's style become lists."""
    lines: list[str] = []
    within = False
    for line in (docstring or "").splitlines():
        if head := _SECTION.match(line):
            lines += [f"**{head[1]}**", ""]
            within = True
        elif within and re.match(r"^ {4}\S", line):
            name, colon, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon else f"- {name}")
        else:
            within &= not line or line.startswith(" ")
            lines.append(line)
    return "\n".join(lines)
