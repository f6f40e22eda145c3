r"""Rules: where in its output a program says something. The small language that agents are described in.

`stdout`, `last-line`: as it stands. `stdout~REGEX`, `stderr~REGEX`: the last match, or its first group.
`json:PATH`: in the output as one document. `jsonl:PATH`: in the last line of JSON that has it.
`jsonl+:PATH`: in the last lines that have it one after the other, joined.

A path's steps are parted by dots: a name, a place in a list, or `*` for every place. Behind it may stand conditions
on the same document: `jsonl:item.text[type=item.completed][item.type=agent_message]`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

#: A rule that points into JSON.
POINTER = r"(?:json|jsonl|jsonl\+):[^\[\]]+(?:\[[^=\[\]]+=[^\[\]]*\])*"

_PARTS = re.compile(r"(json|jsonl|jsonl\+):([^\[\]]+)(.*)", re.DOTALL)
_CONDITION = re.compile(r"\[([^=]+)=([^\]]*)\]")


class Pointer(NamedTuple):
    """Where something is told in a JSON document of a certain kind."""

    kind: str
    path: tuple[str, ...]
    conditions: tuple[tuple[tuple[str, ...], str], ...]

    def values(self, document: Any) -> Iterator[Any]:
        """All that stands there, but null; nothing in a document that is of another kind."""
        if all(want in map(text_of, _at(document, path)) for path, want in self.conditions):
            yield from (value for value in _at(document, self.path) if value is not None)

    def last(self, document: Any) -> Any:
        """The last value there, or None."""
        return next(reversed(list(self.values(document))), None)


@functools.cache
def pointer(rule: str) -> Pointer:
    """Read a rule that matches POINTER."""
    parts = _PARTS.fullmatch(rule)
    assert parts is not None, "the configuration was checked"
    conditions = ((tuple(path.split(".")), want) for path, want in _CONDITION.findall(parts[3]))
    return Pointer(parts[1], tuple(parts[2].split(".")), tuple(conditions))


def pick(rule: str, stdout: str) -> Any:
    """The value that a pointer finds in an output, or None."""
    found = pointer(rule)
    if found.kind == "jsonl+":
        return _joined(found, stdout)
    documents = _documents(reversed(stdout.splitlines()) if found.kind == "jsonl" else [stdout])
    return next((value for document in documents if (value := found.last(document)) is not None), None)


def read(rule: str, stdout: str, stderr: str = "") -> str | None:
    """What a rule of any kind finds, as text."""
    if rule == "stdout":
        return stdout.removesuffix("\n")
    if rule == "last-line":
        return stdout.rstrip("\n").rpartition("\n")[2]
    if rule.startswith(("stdout~", "stderr~")):
        return _matched(rule[7:], stdout if rule.startswith("stdout") else stderr)
    return text_of(pick(rule, stdout))


def text_of(value: Any) -> str | None:
    """Text as it is, null as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    import json  # who only checks rules needs none

    return json.dumps(value, ensure_ascii=False)


def document_of(line: str) -> Any:
    """A line's JSON; None where it is none."""
    import json  # as in text_of

    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _documents(texts: Iterable[str]) -> Iterator[Any]:
    return (document for text in texts if (document := document_of(text)) is not None)


def _joined(found: Pointer, stdout: str) -> str | None:
    """Lines that are no JSON are what other libraries print: they part nothing."""
    run: list[str] = []
    for document in _documents(reversed(stdout.splitlines())):
        text = text_of(found.last(document))
        if text is None and run:
            break
        run += [] if text is None else [text]
    return "".join(reversed(run)) if run else None


def _matched(pattern: str, text: str) -> str | None:
    last = None
    for last in re.finditer(pattern, text):  # noqa: B007  # only the last one is wanted
        pass
    return None if last is None else next(iter(last.groups()), None) or last[0]


def _at(document: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield document
        return
    for inner in _step(document, path[0]):
        yield from _at(inner, path[1:])


def _step(document: Any, step: str) -> Iterable[Any]:
    if isinstance(document, dict):
        return [document[step]] if step in document else []
    if not isinstance(document, list):
        return []
    if step == "*":
        return document
    place = int(step) if step.lstrip("-").isdigit() else len(document)
    return [document[place]] if -len(document) <= place < len(document) else []
